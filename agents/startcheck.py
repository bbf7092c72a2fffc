"""What a worker would refuse to start on, partition by partition, without one."""

from collections.abc import Mapping
from contextlib import suppress

from aiokafka.errors import GroupAuthorizationFailedError

from agents.exits import Refusal
from agents.kafka.connection import client_options
from agents.kafka.read import Logs
from agents.kafka.store import check_source, check_state, probe_source, reader
from agents.settings import Settings
from pipeline.position import Position
from schemas.topics import STATE, USERS


async def start_refusals(settings: Settings, logs: Logs, positions: Mapping[int, Position]) -> dict[int, Refusal]:
    """Why a worker would not open a partition, by its number; `positions`: of those that have a state.

    Raises:
        Refusal: no broker.
    """
    users, state = settings.topic(USERS.name), settings.topic(STATE.name)
    found = {}
    reported: Mapping[int, int] = {}
    if len(positions) < await logs.count(users):
        with suppress(GroupAuthorizationFailedError):  # who may not ask learns less
            reported = await logs.group_offsets(settings.app_id, users)
    async with reader(client_options(settings)) as consumer:
        for number in range(await logs.count(users)):
            where, position = f"{users} partition {number}", positions.get(number, Position())
            last = position.last
            source = await probe_source(consumer, users, number, last[0] if last else None)
            try:
                if position.offset < 0:
                    check_state(where, state, settings.app_id, reported.get(number, 0), source.earliest)
                else:
                    check_source(where, state, position.offset, last, source, accept_gap=settings.accept_gap)
            except Refusal as refusal:
                found[number] = refusal
    return found
