"""`rekindle backtest`: what a policy would have done with a history."""

from pathlib import Path

import click
from rich.progress import Progress, TaskID

from agents.backtest import Folded, candidates, ordered, read_model, sweeps, try_out, write
from agents.cli.backtest_view import tell
from agents.cli.base import as_json, emit, progress
from agents.cli.replay import History
from agents.replay import few_collections
from pipeline.backtest import FIELDS
from pipeline.units import DAY

_file = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="HISTORY...")
@click.option("--policy", "policy_file", required=True, type=_file, help="The policy to try.")
@click.option("--against", "against_file", type=_file, help="Another one to compare it with, such as the current one.")
@click.option("--model", "model_file", type=_file, help="A churn model of `rekindle fit`, for rules by `risk_above`.")
@click.option(
    "--sweep",
    "swept",
    multiple=True,
    metavar="FIELD=V,V,..",
    help=f"Try it with a field at several values; RULE.FIELD for one rule. Fields: {', '.join(FIELDS)}.",
)
@click.option(
    "--horizon",
    default=90.0,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    metavar="DAYS",
    help="Who was silent for so long at the end of the history counts as lost.",
)
@click.option("--live", is_flag=True, help="Play every rule as live, those in shadow too.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder for backtest.json and .svg.")
@as_json
def backtest(
    *,
    files: tuple[str, ...],
    policy_file: Path,
    against_file: Path | None,
    model_file: Path | None,
    swept: tuple[str, ...],
    horizon: float,
    live: bool,
    out: Path | None,
    as_json: bool,
) -> None:
    """Play a HISTORY through the core under a policy and measure what it would have done; no Kafka is needed.

    A HISTORY holds one event a line (JSON), plain or gzip; `-` is stdin. Shown are triggers by rule and week, decisions
    and their reasons, the load on channels, who came back by themselves, who was lost and whether they were flagged in
    time, and the smallest uplift that the holdout could show.
    """
    policies = [file for file in (policy_file, against_file) if file is not None]
    tried, *others = candidates(policies, model=read_model(model_file), live=live)
    other = others[0] if others else None
    texts = sweeps(tried, swept)
    with few_collections(), progress(quiet=as_json) as bar:
        history = History(files)
        history.read(bar)
        raws = ordered(history.raws)
        found = try_out(raws, tried, other, texts, horizon=int(horizon * DAY), folded=replaying(bar, len(raws)))
    if out is not None:
        write(out, found, f"{policy_file.name} over {', '.join(Path(name).name for name in files)}")
    if as_json:
        emit(found)
        return
    tell(found, tried, None if other is None else other.name)
    if out is not None:
        click.echo(f"\nwritten to {out}/: backtest.json, backtest.svg")


def replaying(bar: Progress, events: int) -> Folded:
    """A line of the progress bar for each policy that is played, made when it begins."""
    tasks: dict[str, TaskID] = {}

    def folded(name: str, done: int) -> None:
        if name not in tasks:
            tasks[name] = bar.add_task(f"replaying {name}", total=events)
        bar.update(tasks[name], completed=done)

    return folded
