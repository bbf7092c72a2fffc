"""Replay: a history through the same core that a worker runs, as one partition, in memory."""

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from typing import Final, NamedTuple

import msgspec

from pipeline.admission import Channels, Rejection, admit
from pipeline.partition import Partition
from pipeline.play import Played, Raw, Step, in_order, play, read_raw, replay
from pipeline.policy import DEFAULT
from pipeline.records import LogRecord, Output

_REPORT: Final = 10_000  # events between two reports
_ANSWERS: Final = ("triggers", "decisions", "outcomes", "segments")


class Refused(NamedTuple):
    """A dead letter: `number` of its event in the input, and its headers as text."""

    number: int
    value: bytes
    headers: dict[str, str]


class Replayed(NamedTuple):
    """What came out. `outputs`: by topic, JSON documents by (time, id); `refused` in the order of the input."""

    partition: Partition
    outputs: dict[str, list[bytes]]
    refused: list[Refused]

    def summary(self) -> dict[str, int]:
        """How many were read, and what became of them."""
        counts = self.partition.position.counts
        of_events = {name: getattr(counts, name) for name in ("read", "applied", "late", "duplicate", "rejected")}
        return of_events | {topic: len(found) for topic, found in self.outputs.items()}


@contextmanager
def few_collections() -> Iterator[None]:
    """Hundreds of thousands of live tuples: the garbage collector's default would walk them over and over (a fifth of
    all time), and there are no cycles to find.
    """
    usual = gc.get_threshold()
    gc.set_threshold(2_000_000, 50, 1_000)
    try:
        yield
    finally:
        gc.set_threshold(*usual)


class _Envelope(msgspec.Struct):
    time: str
    id: str


_envelope = msgspec.json.Decoder(_Envelope).decode


def read_line(value: bytes) -> Raw:
    """As `read_raw`; what names nobody has an empty key, so that it is refused for what is wrong with it."""
    raw = read_raw(value)
    return raw if raw.key is not None else Raw(b"", value, raw.time)


def unreadable(raws: Sequence[Raw]) -> str:
    """Why nothing of a history can be played, by its first event."""
    if not raws:
        return "it is empty"
    first = raws[0]
    found = admit(LogRecord(0, 0, first.key or b"", first.value), DEFAULT, Channels(DEFAULT), None)
    why = f"{found.reason}: {found.message}" if isinstance(found, Rejection) else "it tells no time"
    return f"an event a line (JSON) is expected, and none of {len(raws):,} is one; the first: {why}"


def run(
    raws: Sequence[Raw],
    policy: str,
    body: bytes,
    *,
    tenant: str = "default",
    as_is: bool = False,
    model: bytes | None = None,
    folded: Callable[[int], None] = lambda _: None,
) -> Replayed:
    """Play a history under one policy.

    Args:
        raws: of `read_line`, in the order of the input.
        policy: the policy's hash.
        body: its text.
        tenant: part of every trigger's id.
        as_is: in this order instead of that of the events' time.
        model: a churn model's text, adopted with the policy.
        folded: called now and then with the number of events folded so far.

    Raises:
        UnreadableBody: the model can't be used.
        CoreError: the core fails on an event.
    """
    registry = {f"policy/{policy}": body}
    risk = None if model is None else sha256(model).hexdigest()
    if risk is not None and model is not None:
        registry[f"model/{risk}"] = model
    partition = Played(0, 1, registry, tenant=tenant)
    outputs: dict[str, list[bytes]] = {topic: [] for topic in _ANSWERS}
    refused: dict[int, Output] = {}  # by offset
    reported = 0
    raws_played = raws if as_is else in_order(raws)
    for commit in replay(play(raws_played, policy, model=risk), partition):
        for topic, messages in commit.outputs.items():
            if topic in outputs:
                outputs[topic].extend(message.value for message in messages)
            elif topic == "deadletters":
                refused.update((int(dict(message.headers)["offset"]), message) for message in messages)
        read = partition.position.counts.read
        if read - reported >= _REPORT:
            reported = read
            folded(read)
    for found in outputs.values():
        found.sort(key=_order)
    return Replayed(partition, outputs, _located(raws, play(raws_played, policy, model=risk), refused))


def _order(document: bytes) -> tuple[str, str]:
    envelope = _envelope(document)
    return envelope.time, envelope.id


def _located(raws: Sequence[Raw], steps: Iterator[Step], refused: dict[int, Output]) -> list[Refused]:
    """Where in the input each refused event stood: the same object, since equal bytes may be refused once only."""
    if not refused:
        return []
    wanted = {id(step): refused[offset] for offset, step in enumerate(steps) if offset in refused}
    found = []
    for index, raw in enumerate(raws):
        message = wanted.get(id(raw))
        if message is not None:
            found.append(Refused(index, message.value, {name: text.decode() for name, text in message.headers}))
    return found
