"""What a deployment knows, for reports that no sum holds: its events to fold anew with its policy, and all its rows."""

from typing import Any, NamedTuple

import msgspec

from agents.evidence import position_of
from agents.exits import Exit, Refusal
from agents.kafka.connection import client_options
from agents.kafka.read import open_logs
from agents.replay import read_line
from agents.settings import Settings
from agents.views.read import compiled, latest
from pipeline.control import is_control
from pipeline.partition import Partition
from pipeline.play import Raw, in_order
from pipeline.policy import DEFAULT, Policy, PolicyError, parse
from pipeline.position import Position
from pipeline.state import UserState, decode_row
from schemas.codec import DECODE_ERRORS, decode_control, rfc3339
from schemas.control import Adopt
from schemas.topics import REGISTRY, STATE, USERS

_Object = dict[str, msgspec.Raw]


class Past(NamedTuple):
    """Events in order of time, and the policy to fold them under with its text (built in: neither hash nor text)."""

    raws: list[Raw]
    policy: Policy = DEFAULT
    body: bytes = b""

    def partition(self, tenant: str) -> Partition:
        """An empty partition that knows the policy."""
        return Partition(0, 1, {f"policy/{self.policy.hash}": self.body}, tenant=tenant)

    @property
    def adopted(self) -> str | None:
        """What `pipeline.play.play` adopts."""
        return self.policy.hash or None


async def read_topic(settings: Settings, asked: tuple[Policy, bytes] | None = None) -> Past:
    """Everything that the user topic keeps (what retention has taken is not there), and the policy that was asked for
    with its text, else the one adopted last.

    Raises:
        Refusal: no broker or no topic, an end that can't be reached, or the adopted policy is not in the registry.
    """
    name = settings.topic(USERS.name)
    adopted: tuple[int, str] = (-1, "")
    async with open_logs(client_options(settings)) as logs:
        read: dict[int, list[Raw]] = {number: [] for number in range(await logs.count(name))}
        async for number, records in logs.read(name, await logs.starts(name), await logs.ends(name)):
            for record in records:
                if is_control(record):
                    adopted = max(adopted, _adoption(record))
                elif record.value:
                    read[number].append(_event(record))
        bodies = await logs.registry(settings.topic(REGISTRY.name))
    raws = in_order(raw for number in sorted(read) for raw in read[number])
    digest = adopted[1]
    if asked is not None or not digest:
        return Past(raws, *(asked or ()))
    body = bodies.get(f"policy/{digest}")
    if body is None:
        raise Refusal(Exit.POLICY, f"the adopted policy {digest} is not in the registry; name one by --policy")
    try:
        return Past(raws, parse(body, name=f"policy/{digest[:12]}"), body)
    except PolicyError as error:
        raise Refusal(Exit.POLICY, f"the adopted policy can't be read: {error}") from error


def _adoption(record: Any) -> tuple[int, str]:
    """When a policy was adopted (append time, ms), and its hash."""
    try:
        message = decode_control(record.value or b"")
    except DECODE_ERRORS:
        return -1, ""
    if isinstance(message, Adopt) and message.policy is not None:
        return record.timestamp, message.policy
    return -1, ""


def _event(record: Any) -> Raw:
    """As in a file: an event that tells no time gets its append time written into it."""
    raw = read_line(record.value)
    if raw.time is not None or not raw.key:
        return raw
    body = msgspec.json.decode(record.value, type=_Object)
    body["timestamp"] = msgspec.Raw(msgspec.json.encode(rfc3339(record.timestamp)))
    return Raw(raw.key, msgspec.json.encode(body), record.timestamp)


class Rows(NamedTuple):
    """All users' rows, the latest time that they know (ms; 0: none), and the reporting currency."""

    states: list[UserState]
    now: int
    currency: str


async def read_states(settings: Settings) -> Rows:
    """All rows of the running deployment.

    Raises:
        Refusal: no broker or no topic, or an end that can't be reached.
    """
    states: list[UserState] = []
    positions: list[Position] = []
    name = settings.topic(STATE.name)
    async with open_logs(client_options(settings)) as logs:
        for number, start in sorted((await logs.starts(name)).items()):
            rows: dict[bytes, bytes] = {}
            await logs.read_table(name, rows, {number: start})
            states.extend(decode_row(rows[key]) for key in sorted(rows) if key[:1] == b"u")
            positions.append(position_of(rows))
        bodies = await logs.registry(settings.topic(REGISTRY.name))
    digest = latest(positions).policy
    currency = compiled(digest, bodies.get(f"policy/{digest}")).currency.reporting
    return Rows(states, max((position.horizon or 0 for position in positions), default=0), currency)
