"""`rekindle policy`: what a team decides, checked, published, listed and rolled back."""

from collections.abc import Mapping
from pathlib import Path

import click

from agents.cli.base import Failure, Group, again, as_json, earlier, emit, is_current, run, settings_of, table
from agents.cli.policy_diff import diff
from agents.exits import Exit, Refusal
from agents.kafka.adopt import has_model, unmet_by
from agents.kafka.publish import Publication, history, publish_policy, read_registry
from agents.settings import Settings
from pipeline.policy import InSegment, NotActivated, PAliveBelow, Policy, PolicyError, RiskAbove, Rule, Silence, parse
from pipeline.policy.needs import unmet
from pipeline.policy.notes import notes
from pipeline.units import DAY, HOUR

_path = click.Path(exists=True, dir_okay=False, path_type=Path)
_file = click.argument("file", type=_path)
_live = click.option("--live", is_flag=True, help="Confirm that rules of `mode: live` are to send.")


@click.group(cls=Group)
def policy() -> None:
    """Check, compare, publish, list and roll back policies."""


policy.add_command(diff)


@policy.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=_path)
@as_json
@click.pass_context
def check(ctx: click.Context, *, files: tuple[Path, ...], as_json: bool) -> None:
    """Read each FILE and name every problem by its line; nothing is sent anywhere.

    What it needs beside it is named too: a churn model, a lease of its perks. A note says what it may do that you do
    not mean, such as to decide by parameters of other people's customers. With --json a line for each file.
    """
    sound = [_checked(file, as_json=as_json) for file in files]
    if not all(sound):
        ctx.exit(Exit.POLICY)


def _checked(file: Path, *, as_json: bool) -> bool:
    """Show what the file says, or its problems; whether it is sound."""
    try:
        compiled = parse(file.read_bytes(), name=str(file))
    except PolicyError as error:
        if as_json:
            emit({"ok": False, "problems": error.problems})
        else:
            click.echo("\n".join(error.problems), err=True)
        return False
    needed, noted = list(unmet(compiled)), list(notes(compiled))
    if as_json:
        found = {"ok": True, "hash": compiled.hash, "rules": _modes(compiled), "problems": []}
        emit(found | {"needs": needed, "notes": noted})
    else:
        click.echo(f"{file} is sound: {compiled.hash}")
        _show(compiled, needed, noted)
    return True


@policy.command()
@_file
@_live
@again
@as_json
@click.pass_context
def publish(ctx: click.Context, *, file: Path, live: bool, again: bool, as_json: bool) -> None:
    """Make every partition decide by FILE from its next record on, all or none.

    A rule is `live` (triggers go out) or `shadow` (decisions only). A file with a live rule needs --live: so nobody
    starts sending by publishing the wrong file. Nothing is published if it is the current policy.
    """
    body = file.read_bytes()
    try:
        compiled = parse(body, name=str(file))
    except PolicyError as error:
        raise Failure(Exit.POLICY, "nothing was published:\n" + "\n".join(error.problems)) from error
    settings = settings_of(ctx)
    registry = run(settings, read_registry(settings))
    if again or not _is_current(registry, compiled.hash, as_json=as_json):
        _confirm(compiled, f"publish with --live if that is meant, else set `mode: shadow` in {file}", live=live)
        _publish(settings, registry, body, compiled, as_json=as_json)


@policy.command("history")
@as_json
@click.pass_context
def show_history(ctx: click.Context, *, as_json: bool) -> None:
    """What was published, the latest last: that is what the partitions decide by."""
    settings = settings_of(ctx)
    entries = history(run(settings, read_registry(settings)))
    if as_json:
        told = [{"policy": e.policy, "at": e.at, "by": e.by, "rules": e.rules} for e in entries]
        emit([each | {"current": each is told[-1]} for each in told])
    elif not entries:
        click.echo("nothing was published yet: partitions keep state and decide nothing")
    else:
        rows = [(e.policy[:12], e.at, e.by, _rules(e), "current" if e is entries[-1] else "") for e in entries]
        table(("policy", "published", "by", "rules", ""), rows)


@policy.command()
@click.argument("digest", metavar="[HASH]", required=False)
@_live
@as_json
@click.pass_context
def rollback(ctx: click.Context, *, digest: str | None, live: bool, as_json: bool) -> None:
    """Publish an earlier policy again: that of HASH (its beginning is enough), else the one before the current.

    One with a live rule needs --live, as `publish` does. Nothing is published if it is the current policy.
    """
    settings = settings_of(ctx)
    registry = run(settings, read_registry(settings))
    wanted, body = earlier(registry, [entry.policy for entry in history(registry)], digest, "policy", "history")
    if not _is_current(registry, wanted, as_json=as_json):
        compiled = parse(body, name=wanted[:12])
        _confirm(compiled, f"go back to {wanted[:12]} with --live if that is meant", live=live)
        _publish(settings, registry, body, compiled, as_json=as_json)


def _is_current(registry: Mapping[str, bytes], wanted: str, *, as_json: bool) -> bool:
    published = [entry.policy for entry in history(registry)]
    return is_current(registry, published, wanted, "policy", as_json=as_json)


def _confirm(compiled: Policy, advice: str, *, live: bool) -> None:
    """Raises Refusal: a rule would send, and nobody said that it is to."""
    sending = [rule.id for rule in compiled.rules if rule.mode == "live"]
    if sending and not live:
        rules = f"rule{'s' if len(sending) > 1 else ''} {', '.join(sending)}"
        raise Refusal(Exit.USAGE, f"{rules} would send; {advice}")


def _publish(
    settings: Settings, registry: Mapping[str, bytes], body: bytes, compiled: Policy, *, as_json: bool
) -> None:
    entry = run(settings, publish_policy(settings, body))
    needed, noted = unmet_by(compiled, registry), list(notes(compiled, model=has_model(registry)))
    if as_json:
        told = {"policy": entry.policy, "at": entry.at, "by": entry.by, "rules": entry.rules}
        emit({"published": True} | told | {"needs": needed, "notes": noted})
        return
    click.echo(f"published {entry.policy}; every partition decides by it from its next record on")
    _show(compiled, needed, noted)


def _modes(compiled: Policy) -> dict[str, str]:
    return {rule.id: rule.mode for rule in compiled.rules}


def _rules(entry: Publication) -> str:
    return ", ".join(f"{rule} ({mode})" for rule, mode in entry.rules.items()) or "none"


def _show(compiled: Policy, needed: list[str], noted: list[str]) -> None:
    if compiled.rules:
        rows = [(r.id, r.mode, _when(r), r.channel, r.template, f"{r.holdout:.0%}") for r in compiled.rules]
        table(("rule", "mode", "due", "channel", "template", "holdout"), rows)
    else:
        click.echo("it has no rules: state is kept, nothing is decided")
    for line in (*needed, *(f"note: {note}" for note in noted)):
        click.echo(line)


def _when(rule: Rule) -> str:
    match rule.when:
        case Silence(after=after):
            return f"after {_span(after)} of silence"
        case PAliveBelow(threshold=threshold, min_silence=least):
            return f"P(alive) < {threshold:g}, after {_span(least)} of silence"
        case RiskAbove(threshold=threshold, min_silence=least):
            return f"risk >= {threshold:g}, after {_span(least)} of silence"
        case NotActivated(after=after):
            return f"not activated after {_span(after)}"
        case InSegment(segment=segment):
            return f"on entering {segment}"


def _span(time: int) -> str:
    return f"{time / DAY:g} d" if time >= DAY else f"{time / HOUR:g} h"
