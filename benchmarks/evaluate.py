"""`make evaluate`: all churn models on the real histories at hand, out of time, beside the published bars."""

import sys
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.table import Table

from agents.churn import samples
from agents.history import Past
from agents.replay import few_collections
from benchmarks.histories import BARS, Bar, history
from pipeline.risk import CHURN_MODELS
from pipeline.risk.document import Judgement
from pipeline.risk.evaluate import evaluate
from pipeline.units import DAY

_WITHIN = 0.01
_CALIBRATED = 0.05


def verdicts(found: dict[str, Judgement], bar: Bar) -> Iterator[tuple[str, float, float, bool]]:
    """What is asked of the logistic model: words, the value, the least or the most that it may be, and whether it is.

    An AUC within .01 of the published one; an ECE of at most .05; recency beaten by .07 of AUC, by .06 where recency
    itself is above .77.
    """
    best, recency = found["logistic"], found["recency"].auc.value
    auc, ece = best.auc.value, best.ece.value
    yield "AUC at least", auc, bar.logistic[0] - _WITHIN, auc >= bar.logistic[0] - _WITHIN
    yield "ECE at most", ece, _CALIBRATED, ece <= _CALIBRATED
    lead = 0.06 if recency > 0.77 else 0.07
    yield "AUC above recency's by", auc - recency, lead, auc - recency >= lead


def _shown(name: str, found: dict[str, Judgement], bar: Bar) -> Table:
    table = Table(title=f"{name}, {bar.horizon // DAY} days", title_justify="left", box=None, pad_edge=False)
    for heading in ("model", "AUC", "log loss", "ECE", "lift 10 %", "published: AUC / log loss / ECE"):
        table.add_column(heading)
    published = {"recency": bar.recency, "mbg": bar.mbg, "logistic": bar.logistic}
    for model, each in found.items():
        cells = (each.auc, each.logloss, each.ece, each.lift10)
        figures = [f"{cell.value:.3f} ({cell.low:.3f} .. {cell.high:.3f})" for cell in cells]
        table.add_row(model, *figures, " / ".join(f"{figure:.3f}" for figure in published[model]))
    return table


@click.command()
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), default=Path("build", "evaluate.json"), show_default=True)
def main(data: Path, out: Path) -> None:
    """Evaluate on every data set in the folder DATA that is known here; the exit code is 1 if a bar is missed."""
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    document = {}
    missed = 0
    for name, bar in BARS.items():
        if not (data / bar.folder / "events.csv.gz").exists():
            console.print(f"{name}: no {bar.folder}/events.csv.gz in {data}, passed over")
            continue
        with few_collections():
            collected = samples(Past(history(data / bar.folder)), bar.horizon, "eval")
            found = evaluate(CHURN_MODELS.values(), collected.samples, bar.horizon)
        document[name] = found
        console.print(_shown(name, found, bar))
        for words, value, limit, reached in verdicts(found, bar):
            console.print(f"  {words} {limit:.3f}: {value:.3f}, {'reached' if reached else 'MISSED'}")
            missed += not reached
        console.print()
    if not document:
        raise click.UsageError(f"{data} holds none of the data sets {', '.join(bar.folder for bar in BARS.values())}")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n")
    console.print(f"{'every bar is reached' if not missed else f'{missed} bars are missed'}; figures in {out}")
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
