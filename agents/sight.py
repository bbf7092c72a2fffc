"""A user straight from Kafka, where there are no views: reads one partition of the state topic to its end."""

from agents.evidence import position_of
from agents.kafka.connection import client_options
from agents.kafka.read import open_logs
from agents.settings import Settings
from agents.views.read import Sight, adopted_by, context_and_hold
from pipeline.state import decode_row
from schemas.partitioner import partition_of
from schemas.topics import REGISTRY, STATE


async def sight_from_kafka(settings: Settings, user: str) -> Sight | None:
    """The user, without past decisions; None if there is no row. Seconds for a million users.

    Raises:
        Refusal: no broker or no topic, or the end can't be reached.
    """
    state, key = settings.topic(STATE.name), user.encode()
    rows: dict[bytes, bytes] = {}
    async with open_logs(client_options(settings)) as logs:
        number = partition_of(key, await logs.count(state))
        await logs.read_table(state, rows, {number: (await logs.starts(state))[number]})
        bodies = await logs.registry(settings.topic(REGISTRY.name))
    row = rows.get(b"u" + key)
    if row is None:
        return None
    position = position_of(rows)
    adopted = [bodies.get(key) for key in adopted_by(position)]
    context, held = context_and_hold(position, rows.get(b"g"), adopted, settings.tenant)
    return Sight(user, decode_row(row), context, position, held, [])
