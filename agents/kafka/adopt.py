"""Publishing churn models and leases of perks: bodies under their hash, a history, and an adopt message to all."""

from collections.abc import Mapping
from hashlib import sha256
from time import time
from typing import Final, TypeVar

import msgspec

from agents.exits import Exit, Refusal
from agents.kafka.connection import client_options
from agents.kafka.publish import Draft, publish, read_registry, whoami
from agents.kafka.publish import history as policies
from agents.kafka.read import open_logs
from agents.settings import Settings
from pipeline.leases import Grant, grants
from pipeline.perks import SLOTS
from pipeline.policy import Policy, PolicyError, parse
from pipeline.policy.needs import unmet
from pipeline.risk.document import Fitted, Span, read
from pipeline.sums import PERKS, Sum, merge
from pipeline.sums.base import Dims, decode_key
from schemas.codec import decode_lease, decode_quantiles, encode_json, rfc3339
from schemas.control import Adopt, Lease
from schemas.topics import STATE

MODELS: Final = "models/"
LEASES: Final = "leases/"
QUANTILES: Final = "quantiles-history/"

_decode_cell = msgspec.msgpack.Decoder(list[int]).decode
E = TypeVar("E", bound=msgspec.Struct)


class ModelEntry(msgspec.Struct):
    """Body of a registry entry `models/...`: which model ("": the use of one ended), when (RFC 3339) and by whom; its
    kind, horizon (ms), and, of a fitted one, its held-out AUC and ECE, the snapshots that it learned from, its data.
    `renewed`: the model whose calibration was renewed; the ECE is then of the scores that tell of it.
    """

    model: str
    at: str
    by: str
    kind: str = ""
    horizon: int = 0
    auc: float | None = None
    ece: float | None = None
    trained: Span | None = None
    data: str = ""
    renewed: str = ""


class LeaseEntry(msgspec.Struct):
    """Body of a registry entry `leases/...`: which lease, when (RFC 3339) and by whom, and how much of each perk."""

    lease: str
    at: str
    by: str
    leased: dict[str, int]


class QuantilesEntry(msgspec.Struct):
    """Body of a registry entry `quantiles-history/...`: which quantiles, when (RFC 3339) and by whom."""

    quantiles: str
    at: str
    by: str


def describe(body: bytes) -> ModelEntry:
    """A model's entry, not dated yet.

    Raises:
        Refusal: it is no model that this release can read.
    """
    try:
        found = read(body)
    except ValueError as error:
        raise Refusal(Exit.POLICY, f"the model can't be used: {error}") from error
    model = found.model if isinstance(found, Fitted) else found
    entry = ModelEntry(sha256(body).hexdigest(), "", "", model.name, model.horizon)
    if isinstance(found, Fitted):
        entry.auc, entry.ece = found.held_out.auc.value, found.held_out.ece.value
        entry.trained, entry.data = found.trained, found.data
        if found.renewed is not None:
            entry.ece, entry.renewed = found.renewed.ece_after, found.renewed.of
    return entry


async def publish_model(settings: Settings, body: bytes | None) -> ModelEntry:
    """Publish a churn model, or (None) end the use of one, in one transaction.

    Raises:
        Refusal: as `describe` and `agents.kafka.publish.publish`.
    """
    entry = ModelEntry("", "", "") if body is None else describe(body)
    key, entry.at, entry.by = _dated(MODELS, entry.model)
    bodies = {} if body is None else {f"model/{entry.model}": body}
    await publish(settings, Draft(bodies | {key: encode_json(entry)}, [Adopt(model=entry.model)]))
    return entry


def model_history(registry: Mapping[str, bytes]) -> list[ModelEntry]:
    """What was published, in this order; the last one is what the partitions adopt."""
    return _entries(registry, MODELS, ModelEntry)


def has_model(registry: Mapping[str, bytes]) -> bool:
    """Whether the partitions adopt a churn model."""
    entries = model_history(registry)
    return bool(entries and entries[-1].model)


def last_lease(registry: Mapping[str, bytes]) -> dict[str, list[int]]:
    """Perk -> what was leased to each slot in all, as published last; empty before the first time.

    Raises:
        Refusal: the registry has lost it.
    """
    entries = _entries(registry, LEASES, LeaseEntry)
    if not entries:
        return {}
    body = registry.get(f"lease/{entries[-1].lease}")
    if body is None:
        raise Refusal(Exit.POLICY, f"the registry has lost the lease {entries[-1].lease}; restore it from a snapshot")
    return decode_lease(body).perks


def last_quantiles(registry: Mapping[str, bytes]) -> dict[str, dict[float, float]]:
    """Feature -> share at the top -> threshold, as published last; empty before the first time."""
    entries = _entries(registry, QUANTILES, QuantilesEntry)
    body = registry.get(f"quantiles/{entries[-1].quantiles}") if entries else None
    return {} if body is None else decode_quantiles(body).features


def current_policy(registry: Mapping[str, bytes]) -> Policy:
    """The policy that was published last.

    Raises:
        Refusal: there is none, or it can't be read.
    """
    entries = policies(registry)
    body = registry.get(f"policy/{entries[-1].policy}") if entries else None
    if body is None:
        raise Refusal(Exit.POLICY, "no policy was published yet; see `rekindle policy publish`")
    try:
        return parse(body, name=entries[-1].policy[:12])
    except PolicyError as error:
        raise Refusal(Exit.POLICY, f"the published policy can't be read: {error}") from error


def unmet_by(policy: Policy, registry: Mapping[str, bytes]) -> list[str]:
    """What the policy goes by and the registry does not have, a sentence each.

    Raises:
        Refusal: as `last_lease`.
    """
    leased = {perk: sum(slots) for perk, slots in last_lease(registry).items()}
    known = last_quantiles(registry)
    return list(unmet(policy, model=has_model(registry), leased=leased, quantiles=known))


async def read_sum(settings: Settings, aggregate: Sum) -> dict[tuple[str, Dims], list[int]]:
    """The cells of a sum, over all partitions, as committed. Raises Refusal."""
    name = settings.topic(STATE.name)
    partials: list[dict[tuple[str, Dims], list[int]]] = []
    async with open_logs(client_options(settings)) as logs:
        for number, start in sorted((await logs.starts(name)).items()):
            rows: dict[bytes, bytes] = {}
            await logs.read_table(name, rows, {number: start})
            wanted = f"s{aggregate.name}\x1f".encode()
            partials.append({decode_key(k[1:]): _decode_cell(v) for k, v in rows.items() if k.startswith(wanted)})
    return merge(partials)


async def plan_lease(settings: Settings) -> dict[str, Grant]:
    """Perk -> what would be leased now. Raises Refusal."""
    return draft_lease(await read_registry(settings), await read_sum(settings, PERKS))[0]


async def publish_lease(settings: Settings) -> dict[str, Grant]:
    """Lease more of each budget, in one transaction; nothing is published if there is nothing to lease.

    Raises:
        Refusal: as `plan_lease` and `agents.kafka.publish.publish`.
    """
    spent = await read_sum(settings, PERKS)
    planned: dict[str, Grant] = {}

    async def draft() -> Draft:
        """What was leased is read after earlier publishers are shut out, so that nothing is leased twice."""
        found, made = draft_lease(await read_registry(settings), spent)
        planned.update(found)
        return made

    await publish(settings, draft)
    return planned


def draft_lease(
    registry: Mapping[str, bytes], spent: Mapping[tuple[str, Dims], list[int]]
) -> tuple[dict[str, Grant], Draft]:
    """Perk -> what is leased after what the registry says, and what is to be published: nothing if nothing is added.

    Raises:
        Refusal: as `last_lease` and `current_policy`.
    """
    before = last_lease(registry)
    found = grants(current_policy(registry).perks, before, spent)
    after = before | {perk: list(grant.slots) for perk, grant in found.items()}
    if after == before | dict.fromkeys(found.keys() - before.keys(), [0] * SLOTS):
        return found, Draft({}, [])
    body = encode_json(Lease(after))
    digest = sha256(body).hexdigest()
    key, at, by = _dated(LEASES, digest)
    entry = LeaseEntry(digest, at, by, {perk: sum(slots) for perk, slots in after.items()})
    return found, Draft({f"lease/{digest}": body, key: encode_json(entry)}, [Adopt(lease=digest)])


def _dated(prefix: str, digest: str) -> tuple[str, str, str]:
    """Key of a history entry, when, and by whom."""
    now = round(time() * 1000)
    return f"{prefix}{now:013d}-{digest[:12] or 'none'}", rfc3339(now), whoami()


def _entries(registry: Mapping[str, bytes], prefix: str, kind: type[E]) -> list[E]:
    decode = msgspec.json.Decoder(kind).decode
    return [decode(body) for key, body in registry.items() if key.startswith(prefix)]
