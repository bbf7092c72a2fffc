"""`rekindle fit` and `rekindle evaluate`: churn models from a history."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from agents.churn import digest, samples, stated, write
from agents.cli.base import as_json, emit, progress, settings_of, table
from agents.cli.past import past_of, policy_option
from agents.exits import Exit, Refusal
from agents.history import Past
from agents.replay import few_collections
from pipeline.risk import CHURN_MODELS, TooLittle
from pipeline.risk.document import Judgement
from pipeline.risk.report import FIGURES, figures, says, says_events, warning, weights
from pipeline.samples import Collected
from pipeline.units import DAY

_STEPS: Final = 3  # of `pipeline.risk.fitting.fit`
_MOST_DAYS: Final = 3_650

F = TypeVar("F", bound=Callable[..., Any])


class Days(click.ParamType):
    """Whole days, such as 90 or 90d, or weeks, such as 12w; in ms."""

    name = "days"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The span in ms."""
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"([0-9]{1,5})([dw]?)", str(value))
        days = int(found[1]) * (7 if found[2] == "w" else 1) if found else 0
        if not 0 < days <= _MOST_DAYS:
            self.fail(f"{value!r} is no horizon such as 90d: 1 to {_MOST_DAYS} days", param, ctx)
        return days * DAY


def _history(command: F) -> F:
    """Where the events come from, and how far a model looks."""
    for option in (
        click.option(
            "--horizon", type=Days(), default="90d", show_default=True, metavar="DAYS", help="How far to look."
        ),
        click.option("--from-topic", is_flag=True, help="Learn from what the user topic of the running cluster keeps."),
        policy_option,
        click.argument("files", nargs=-1, metavar="EVENTS..."),
    ):
        command = option(command)
    return command


@click.command()
@_history
@click.option("--model", type=click.Choice(list(CHURN_MODELS)), default="logistic", show_default=True)
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The model, as JSON.")
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="Markdown, with pictures beside it.")
@as_json
@click.pass_context
def fit(
    ctx: click.Context,
    *,
    files: tuple[str, ...],
    from_topic: bool,
    policy_file: Path | None,
    horizon: int,
    model: str,
    out: Path,
    report: Path | None,
    as_json: bool,
) -> None:
    """Learn P(no event within the horizon) from EVENTS: JSON lines, plain or gzip; `-` is stdin.

    The history is played through the core. A snapshot of all users every sixth of the horizon is labelled once the
    horizon after it has passed. The figures are of the last 30 % of the time, by a model that was fitted on what had
    matured before; the model that is written is fitted on everything.

    Two lines are for the policy: `risk:`, by which P(alive) is told, and `value:`, by which a user's worth is. Without
    them it goes by the parameters of a CD shop of 1997. With --json the horizon is in ms.
    """
    from pipeline.risk.fitting import fit as learn  # noqa: PLC0415 scikit-learn takes a second

    past, found = _samples(ctx, files, policy_file, horizon, from_topic=from_topic, quiet=as_json)
    with progress(quiet=as_json) as bar:
        task = bar.add_task("fitting", total=_STEPS + 1)
        try:
            fitted = learn(CHURN_MODELS[model], found.samples, horizon, digest(past.raws), lambda _: bar.advance(task))
        except TooLittle as error:
            raise Refusal(Exit.USAGE, str(error)) from error
        policy = stated(past, found)
    name = write(fitted, found.events, policy, out, report)
    if as_json:
        about = {"hash": name, "model": model, "horizon": horizon, "data": fitted.data, "events": found.events}
        emit(about | {"policy": policy._asdict() | {"lines": policy.lines}} | _figures(fitted.held_out))
        return
    click.echo(f"{model}: P(no event within {horizon // DAY} days)")
    click.echo(f"trained on {says(fitted.trained)}")
    click.echo(f"tested on {says(fitted.tested)}")
    table(("held out", "", "95 %"), figures(fitted.held_out))
    if rows := weights(fitted.model):
        table(("feature", "weight", "mean"), rows)
    click.echo("\n".join(("for the policy:", *policy.says, *policy.lines)))
    click.echo(f"written to {out}" + (f" and {report}" if report else ""))
    click.echo(f"model {name}")


@click.command()
@_history
@as_json
@click.pass_context
def evaluate(
    ctx: click.Context,
    *,
    files: tuple[str, ...],
    from_topic: bool,
    policy_file: Path | None,
    horizon: int,
    as_json: bool,
) -> None:
    """Compare all churn models on EVENTS, out of time: fitted on what had matured before, judged on the last 30 %.

    Judged are users who were active in the two horizons before a snapshot. Intervals: bootstrap over users. With --json
    the horizon is in ms.
    """
    from pipeline.risk.evaluate import evaluate as judge  # noqa: PLC0415 scikit-learn takes a second

    _, found = _samples(ctx, files, policy_file, horizon, from_topic=from_topic, quiet=as_json)
    with progress(quiet=as_json) as bar:
        task = bar.add_task("judging", total=len(CHURN_MODELS))
        try:
            judged = judge(CHURN_MODELS.values(), found.samples, horizon, lambda _: bar.advance(task))
        except TooLittle as error:
            raise Refusal(Exit.USAGE, str(error)) from error
    if as_json:
        models = {name: _figures(each) for name, each in judged.items()}
        emit({"horizon": horizon, "events": found.events, "models": models})
        return
    rows = [(name, *(f"{value} ({interval})" for _, value, interval in figures(each))) for name, each in judged.items()]
    table(("model", *FIGURES.values()), rows)


def _samples(
    ctx: click.Context, files: tuple[str, ...], policy_file: Path | None, horizon: int, *, from_topic: bool, quiet: bool
) -> tuple[Past, Collected]:
    """The history and what there is to learn from it; says what was refused (unless `quiet`), and warns of much.

    Raises Refusal.
    """
    if bool(files) == from_topic:
        raise click.UsageError("name files with events, or say --from-topic; one of the two", ctx)
    settings = settings_of(ctx)
    with few_collections(), progress(quiet=quiet) as bar:
        past = past_of(settings, files, policy_file, bar)
        task = bar.add_task("folding", total=len(past.raws))
        found = samples(past, horizon, settings.tenant, lambda count: bar.update(task, completed=count))
    if not quiet:
        click.echo(says_events(found.events))
    if warned := warning(found.events):
        where = "`rekindle deadletters list` has them" if from_topic else "`rekindle replay` lists them, line by line"
        click.secho(f"warning: {warned}; {where}", fg="yellow", err=True)
    return past, found


def _figures(found: Judgement) -> dict[str, Any]:
    """Each figure, and its 95 % interval."""
    measures = {field: getattr(found, field) for field in FIGURES}
    return {field: measure.value for field, measure in measures.items()} | {
        "intervals": {field: [measure.low, measure.high] for field, measure in measures.items()}
    }
