"""Publishing quantiles: thresholds of the users at the top of a feature, read off the committed rows."""

from hashlib import sha256
from time import time

import msgspec

from agents.evidence import position_of
from agents.kafka.adopt import QUANTILES, QuantilesEntry, current_policy
from agents.kafka.connection import client_options
from agents.kafka.publish import Draft, publish, read_registry, whoami
from agents.kafka.read import open_logs
from agents.settings import Settings
from pipeline.explain import context_of
from pipeline.guard import Guard
from pipeline.policy import Policy
from pipeline.quantiles import Histogram, Thresholds, measure, thresholds
from pipeline.risk import ChurnModel, from_json
from pipeline.state import decode_row
from schemas.codec import encode_json, rfc3339
from schemas.control import Adopt, Quantiles
from schemas.topics import STATE

_decode_guard = msgspec.msgpack.Decoder(Guard).decode


async def plan_quantiles(settings: Settings) -> Thresholds:
    """The thresholds that the published policy asks for, as the committed rows have them. Raises Refusal."""
    registry = await read_registry(settings)
    policy = current_policy(registry)
    name, whole = settings.topic(STATE.name), dict[str, Histogram]()
    async with open_logs(client_options(settings)) as logs:
        for number, start in sorted((await logs.starts(name)).items()):
            rows: dict[bytes, bytes] = {}
            await logs.read_table(name, rows, {number: start})
            for feature, histogram in _of_partition(rows, policy, settings.tenant, registry).items():
                whole.setdefault(feature, Histogram()).merge(histogram)
    return thresholds(policy, whole)


async def publish_quantiles(settings: Settings) -> Thresholds:
    """Publish them, in one transaction; nothing if the policy asks for none, or nobody has any.

    Raises:
        Refusal: as `plan_quantiles` and `agents.kafka.publish.publish`.
    """
    found = await plan_quantiles(settings)
    if not found:
        return found
    body = encode_json(Quantiles(found))
    digest = sha256(body).hexdigest()
    now = round(time() * 1000)
    entry = encode_json(QuantilesEntry(digest, rfc3339(now), whoami()))
    bodies = {f"quantiles/{digest}": body, f"{QUANTILES}{now:013d}-{digest[:12]}": entry}
    await publish(settings, Draft(bodies, [Adopt(quantiles=digest)]))
    return found


def _of_partition(
    rows: dict[bytes, bytes], policy: Policy, tenant: str, registry: dict[str, bytes]
) -> dict[str, Histogram]:
    position = position_of(rows)
    guard = _decode_guard(rows[b"g"]) if b"g" in rows else Guard()
    body = registry.get(f"model/{position.model}")
    model: ChurnModel | None = from_json(body) if body is not None else None
    context = context_of(position, guard, policy, tenant, model)
    return measure((decode_row(row) for key, row in rows.items() if key[:1] == b"u"), context)
