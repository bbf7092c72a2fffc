"""`rekindle policy diff`: what differs between two policies, and what that changes over a history."""

from itertools import groupby
from pathlib import Path
from typing import Any

import click
import msgspec

from agents.backtest import Candidate, candidate, ordered, read_model, what_if
from agents.cli.backtest import replaying
from agents.cli.backtest_view import tell_comparison
from agents.cli.base import as_json, emit, progress, run, settings_of
from agents.cli.replay import History
from agents.exits import Exit, Refusal
from agents.history import read_topic
from agents.kafka.publish import history as publications
from agents.kafka.publish import read_registry
from agents.replay import few_collections
from agents.settings import Settings
from pipeline.backtest import ABSENT, Comparison, FieldChange, changes, compare
from pipeline.play import Raw
from pipeline.policy import DEFAULT

CURRENT = "current"
_file = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("old")
@click.argument("new")
@click.argument("files", nargs=-1, metavar="[HISTORY]...")
@click.option("--from-topic", is_flag=True, help="Replay what the user topic of the running cluster keeps.")
@click.option("--model", "model_file", type=_file, help="A churn model of `rekindle fit`, for rules by `risk_above`.")
@click.option("--examples", default=10, show_default=True, type=click.IntRange(0), help="Users of each kind to name.")
@as_json
@click.pass_context
def diff(
    ctx: click.Context,
    *,
    old: str,
    new: str,
    files: tuple[str, ...],
    from_topic: bool,
    model_file: Path | None,
    examples: int,
    as_json: bool,
) -> None:
    """Say what changes from the policy OLD to NEW, in words; with a HISTORY also which decisions change.

    OLD and NEW are files; `current` is what was published last. A HISTORY holds one event a line (JSON), plain or gzip;
    `-` is stdin. Both policies are played over it as they are written: a rule in shadow sends nothing.
    """
    if files and from_topic:
        raise Refusal(Exit.USAGE, "a HISTORY and --from-topic are two histories; choose one")
    settings = settings_of(ctx)
    short, model = Path(old).name != Path(new).name, read_model(model_file)
    before, after = (_policy(settings, name, short=short)._replace(model=model) for name in (old, new))
    found = changes(before.policy, after.policy)
    comparison = None
    if files or from_topic:
        with few_collections(), progress(quiet=as_json) as bar:
            if from_topic:
                raws: list[Raw] = run(settings, read_topic(settings, (DEFAULT, b""))).raws
            else:
                history = History(files)
                history.read(bar)
                raws = history.raws
            raws = ordered(raws)
            folded = replaying(bar, len(raws))
            comparison = compare(what_if(raws, before, folded), what_if(raws, after, folded), examples)
    if as_json:
        emit(_document(before, after, found, comparison))
        return
    _tell(found)
    if comparison is not None:
        click.echo()
        tell_comparison(comparison, before.name, after.name)


def _policy(settings: Settings, name: str, *, short: bool) -> Candidate:
    path = Path(name)
    if path.is_file():
        return candidate(path.name if short else name, path.read_bytes())
    if name != CURRENT:
        raise Refusal(Exit.USAGE, f"{name}: no such file; `{CURRENT}` stands for the policy that was published last")
    registry = run(settings, read_registry(settings))
    entries = publications(registry)
    body = registry.get(f"policy/{entries[-1].policy}") if entries else None
    if body is None:
        raise Refusal(Exit.POLICY, "no policy was published yet, or the registry has lost it; name a file instead")
    return candidate(f"{CURRENT} ({entries[-1].policy[:12]})", body)


def _document(
    before: Candidate, after: Candidate, found: list[FieldChange], comparison: Comparison | None
) -> dict[str, Any]:
    return {
        "old": before.policy.hash,
        "new": after.policy.hash,
        "changes": msgspec.to_builtins(found),
        "comparison": msgspec.to_builtins(comparison),
    }


def _tell(found: list[FieldChange]) -> None:
    if not found:
        click.echo("both mean the same")
        return
    for where, own in groupby(found, key=lambda change: change.where):
        for number, change in enumerate(own):
            if change.name and not number:
                click.secho(where, bold=True)
            note = f" ({change.note})" if change.note else ""
            if change.name:
                click.echo(f"  {change.name}: {change.before} -> {change.after}{note}")
            elif change.before == ABSENT:
                click.echo(f"{click.style(where, bold=True)} is new{note}\n  {change.after}")
            else:
                click.echo(f"{click.style(where, bold=True)} is gone{note}\n  {change.before}")
