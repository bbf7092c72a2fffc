"""The core without Kafka: a file replayed, a wheel swept, a hundred thousand users due at once, a policy adopted."""

import random
from pathlib import Path

from agents.cli import main as rekindle
from benchmarks.measure import Figures, Job, cpu, quiet_collector
from benchmarks.stock import copies, sample_rows
from benchmarks.workload import SPAN, events, policy_of, users
from pipeline.deadlines import Wheel
from pipeline.partition import Partition
from pipeline.play import control_record
from pipeline.records import LogRecord
from pipeline.units import DAY, HOUR
from schemas.codec import rfc3339
from schemas.control import Adopt, AnyControl, Domain, Tick

_START = 20_000 * DAY  # 2024-10-04


def replay(job: Job) -> Figures:
    """`rekindle replay` on a file of `events` events, from its first argument to its last file; imports left out."""
    folder = Path(job.folder)
    history, policy = folder / "history.jsonl", folder / "policy.yaml"
    policy.write_bytes(policy_of()[1])
    with history.open("wb") as file:
        file.writelines(event.value + b"\n" for event in events(job.events, _START))
    began = cpu()
    rekindle(
        ["replay", str(history), "--policy", str(policy), "--out", str(folder / "out"), "--json"], standalone_mode=False
    )
    spent = cpu() - began
    read = sum(1 for _ in (folder / "out" / "users.jsonl").open("rb"))
    assert read, "the replay left no users"
    return {"events_s": job.events / spent}


class _Log:
    """One partition, of one, and the offsets of its log."""

    def __init__(self, *, live: bool) -> None:
        self.digest, body = policy_of(live=live)
        self.other, other = policy_of(live=live, note=b"\n# a second one\n")
        self.registry = {f"policy/{self.digest}": body, f"policy/{self.other}": other}
        self.partition = Partition(0, 1, self.registry)
        self._offset = 0

    def fold(self, *messages: AnyControl | tuple[bytes, bytes]) -> int:
        """Fold and commit as a worker does, at every pause; returns how many decisions were written."""
        records = []
        for message in messages:
            if isinstance(message, tuple):
                records.append(LogRecord(self._offset, 0, *message))
            else:
                records.append(control_record(message, self._offset))
            self._offset += 1
        decisions = 0
        for _ in self.partition.fold(records):
            decisions += len(self.partition.commit().outputs.get("decisions", ()))
        return decisions + len(self.partition.commit().outputs.get("decisions", ()))


def firing(job: Job) -> Figures:
    """Decisions per second when one tick makes `size` users due: decided, encoded, and their rows encoded."""
    log, rng = _Log(live=True), random.Random(1)
    log.fold(Domain("played"), Adopt(policy=log.digest), Tick(_START))
    known = users(job.size)
    for turn in range(2):
        for at in range(0, len(known), 5000):
            log.fold(
                *(
                    (user.key, _view(user.name, _START + turn * 1000 + rng.randrange(HOUR // 2), rng))
                    for user in known[at : at + 5000]
                )
            )
    log.fold(Tick(_START + 30 * DAY))
    quiet_collector()
    began = cpu()
    decisions = log.fold(Tick(_START + 30 * DAY + 3 * HOUR))
    spent = cpu() - began
    assert decisions == job.size, f"{decisions} decisions for {job.size} users"
    return {"decisions_s": decisions / spent}


def _view(user: str, time: int, rng: random.Random) -> bytes:
    return (
        f'{{"messageId":"{rng.getrandbits(64):016x}","userId":"{user}","timestamp":"{rfc3339(time)}","type":"page"}}'
    ).encode()


def wheel(job: Job) -> Figures:
    """Users per second that a sweep puts into a later bucket, and the CPU time per user of an adoption, on `size` rows.

    All users were seen again two days after their entries in the wheel were made, so every entry is stale.
    """
    log = _Log(live=False)
    log.fold(Domain("played"), Adopt(policy=log.digest), Tick(_START))
    partition = log.partition
    partition.restore((b"u" + key, row) for _, key, row in copies(sample_rows(_START), job.size))
    dues = {key: partition._due_hour(key) for key in partition.rows}  # noqa: SLF001
    stale = Wheel()
    for key, due in dues.items():
        stale.put(due - SPAN // HOUR, key)
    first, entries = min(dues.values()), len(stale)
    del dues
    partition.wheel = stale
    log.fold(Tick((first - SPAN // HOUR) * HOUR))
    quiet_collector()
    began = cpu()
    log.fold(Tick(first * HOUR + HOUR))
    swept = cpu() - began
    assert len(partition.wheel) == entries == job.size
    began = cpu()
    log.fold(Adopt(policy=log.other))
    adopted = cpu() - began
    return {"keys_s": entries / swept, "adoption_us": adopted / entries * 1e6}
