"""`rekindle model`: the churn model that partitions tell the risk by, published, listed, recalibrated, retired."""

from collections.abc import Mapping
from pathlib import Path

import click
import msgspec

from agents.churn import written
from agents.cli.base import Group, again, as_json, earlier, emit, is_current, run, settings_of, table
from agents.exits import Exit, Refusal
from agents.kafka.adopt import ModelEntry, describe, model_history, publish_model, read_sum
from agents.kafka.publish import read_registry
from agents.settings import Settings
from pipeline.renewal import known_days, renew, renewed
from pipeline.reports.calibration import says
from pipeline.risk import TooLittle
from pipeline.risk.document import Renewal, Span, read
from pipeline.sums import CALIBRATION
from pipeline.units import DAY
from schemas.codec import rfc3339


@click.group(cls=Group)
def model() -> None:
    """Publish, list, recalibrate, roll back or retire the churn model."""


@model.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@again
@as_json
@click.pass_context
def publish(ctx: click.Context, *, file: Path, again: bool, as_json: bool) -> None:
    """Make every partition tell the risk by FILE, as `rekindle fit` wrote it, from its next record on, all or none.

    Rules by `risk_above` are due by it from then on; what by its word lies before that is passed over. Nothing is
    published if it is the current model.
    """
    body = file.read_bytes()
    try:
        wanted = describe(body).model
    except Refusal as refusal:
        raise Refusal(refusal.code, f"nothing was published: {file}: {refusal.line}") from refusal
    settings = settings_of(ctx)
    registry = run(settings, read_registry(settings))
    if again or not is_current(registry, _published(registry), wanted, "model", as_json=as_json):
        _publish(settings, body, as_json=as_json)


@model.command("list")
@as_json
@click.pass_context
def show(ctx: click.Context, *, as_json: bool) -> None:
    """What was published, the latest last, with held-out figures of the fit; `report calibration` has those of now. The
    last one is in use. With --json the horizon is in ms.
    """
    settings = settings_of(ctx)
    entries = model_history(run(settings, read_registry(settings)))
    if as_json:
        emit([msgspec.to_builtins(e) | {"current": bool(e.model) and e is entries[-1]} for e in entries])
    elif not entries:
        click.echo("no model was published yet: rules by risk_above are never due")
    else:
        columns = ("model", "published", "by", "kind", "horizon", "AUC", "ECE", "trained on", "")
        marks = [*[""] * (len(entries) - 1), "current" if entries[-1].model else ""]
        table(columns, [(*_row(entry), mark) for entry, mark in zip(entries, marks, strict=True)])


@model.command()
@click.argument("digest", metavar="[HASH]", required=False)
@as_json
@click.pass_context
def rollback(ctx: click.Context, *, digest: str | None, as_json: bool) -> None:
    """Publish an earlier model again: that of HASH (its beginning is enough), else the one before the current."""
    settings = settings_of(ctx)
    registry = run(settings, read_registry(settings))
    published = _published(registry)
    wanted, body = earlier(registry, published, digest, "model", "list")
    if not is_current(registry, published, wanted, "model", as_json=as_json):
        _publish(settings, body, as_json=as_json)


@model.command()
@click.pass_context
def retire(ctx: click.Context) -> None:
    """End the use of a model: rules by `risk_above` are due no more. Scores that wait still get their truth."""
    settings = settings_of(ctx)
    entries = model_history(run(settings, read_registry(settings)))
    if not (entries and entries[-1].model):
        raise Refusal(Exit.USAGE, "no model is used: there is nothing to retire; see `rekindle model list`")
    run(settings, publish_model(settings, None))
    click.echo("no model is used any more; every partition knows it from its next record on")


@model.command()
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The model, as JSON.")
@as_json
@click.pass_context
def recalibrate(ctx: click.Context, *, out: Path, as_json: bool) -> None:
    """Renew the current model's calibration by what became of its scores, and write the model to a file for `publish`.

    A line in log-odds is laid over what it foretells. It is judged first: laid by the earlier half of the scores, it
    has to foretell the later half better. Nothing is written for a model that `report calibration` calls calibrated.
    """
    settings = settings_of(ctx)
    registry = run(settings, read_registry(settings))
    entries = model_history(registry)
    if not (entries and entries[-1].model):
        raise Refusal(Exit.USAGE, "no model is used: there is nothing to recalibrate; see `rekindle model list`")
    current = entries[-1].model
    body = registry.get(f"model/{current}")
    if body is None:
        raise Refusal(Exit.POLICY, f"the registry has lost the body of {current}; publish its file instead")
    days = known_days(run(settings, read_sum(settings, CALIBRATION)), current[:12])
    try:
        found = renew(days)
    except TooLittle as error:
        raise Refusal(Exit.USAGE, f"nothing was written: {error}") from error
    before, after = round(found.before.ece, 4), round(found.after.ece, 4)
    about = Renewal(current, days[0][0], days[-1][0], found.whole.scores, before, after)
    if found.needed and not found.helps:
        line = f"a line by the earlier half of its scores does not mend the later half (ECE {before:.3f}, {after:.3f})"
        raise Refusal(Exit.USAGE, f"nothing was written: {line}; fit anew (rekindle fit)")
    name = written(renewed(read(body), found.line, about).to_json(), out) if found.needed else ""
    if as_json:
        emit(
            {"written": found.needed, "hash": name, "verdict": found.whole.verdict}
            | found.line._asdict()
            | msgspec.to_builtins(about)
        )
        return
    click.echo(f"{current[:12]} {says(found.whole)}")
    if not found.needed:
        click.echo("nothing was written: there is nothing to renew")
        return
    click.echo(f"log-odds = {found.line.base:+.3f} {found.line.slope:+.3f} x the log-odds so far")
    click.echo(f"ECE of the later half of the scores: {before:.3f}, and {after:.3f} by such a line of the earlier half")
    click.echo(f"written to {out}; decide by it: rekindle model publish {out}")
    click.echo(f"model {name}")


def _published(registry: Mapping[str, bytes]) -> list[str]:
    return [entry.model for entry in model_history(registry)]


def _publish(settings: Settings, body: bytes, *, as_json: bool) -> None:
    entry = run(settings, publish_model(settings, body))
    if as_json:
        emit({"published": True} | msgspec.to_builtins(entry))
        return
    click.echo(f"published {entry.model}; every partition tells the risk by it from its next record on")
    click.echo(f"{_kind(entry)}: P(no event within {_days(entry.horizon)}); {_figures(entry)}")


def _row(entry: ModelEntry) -> tuple[str, ...]:
    if not entry.model:
        return ("none", entry.at, entry.by, *["-"] * 5)
    return (
        *(entry.model[:12], entry.at, entry.by, _kind(entry), _days(entry.horizon)),
        *("-" if figure is None else f"{figure:.3f}" for figure in (entry.auc, entry.ece)),
        _span(entry.trained),
    )


def _kind(entry: ModelEntry) -> str:
    return f"{entry.kind}, recalibrated" if entry.renewed else entry.kind


def _figures(entry: ModelEntry) -> str:
    if entry.auc is None or entry.ece is None:
        return "it does not say how good it is"
    return f"held out AUC {entry.auc:.3f}, ECE {entry.ece:.3f}; trained on {_span(entry.trained)}"


def _span(trained: Span | None) -> str:
    return "-" if trained is None else f"{rfc3339(trained.first)[:10]} to {rfc3339(trained.last)[:10]}"


def _days(horizon: int) -> str:
    return f"{horizon / DAY:g} days"
