"""The figures by their names in bench.json, and what each is to reach."""

from pathlib import Path
from typing import Final

import msgspec
from rich.table import Table

Found = dict[str, float]

# name: (what it is, unit, direction and limit; None: stated only)
TARGETS: Final[dict[str, tuple[str, str, tuple[str, float] | None]]] = {
    "bare_us": ("confluent-kafka loop that decodes", "µs CPU/event", None),
    "plain_us": ("the same loop with admission and step on a dict", "µs CPU/event", None),
    "naive_us": ("faust agent with a stock table", "µs CPU/event", None),
    "worker_us": ("the worker, exactly once, to the last commit", "µs CPU/event", None),
    "worker_events_s": ("the worker, per core", "events/s", (">=", 50_000)),
    "replay_events_s": ("rekindle replay, per core", "events/s", (">=", 80_000)),
    "backtest_events_s": ("rekindle backtest on half a year with decisions, per core", "events/s", (">=", 60_000)),
    "backtest_over_replay": ("its CPU time over that of rekindle replay, same history", "ratio", ("<=", 1.1)),
    "trigger_p50_ms": ("revealing record appended to trigger visible, p50", "ms", ("<=", 300)),
    "trigger_p99_ms": ("the same, p99", "ms", ("<=", 1_000)),
    "bytes_per_user": ("memory of the worker's process", "bytes/user", ("<=", 450)),
    "recovery_users_s": ("loading a compacted changelog, per core", "users/s", (">=", 200_000)),
    "rebucket_s": ("sweeping users who are not due yet, per core", "users/s", (">=", 1_000_000)),
    "firing_s": ("deciding users who are due, per core", "decisions/s", (">=", 30_000)),
    "risk_us": ("a churn model's features and probability", "µs CPU", ("<=", 15)),
    "crossing_us": ("the hour at which it reaches a threshold", "µs CPU", None),
    "adoption_us_per_user": ("a policy's adoption, the one pass", "µs CPU/user", ("<=", 5)),
    "recovery_uncompacted_users_s": ("loading a changelog as it was written, per core", "users/s", None),
}

# Shown name -> numerator, what is taken off it, denominator, and what the ratio is to reach.
_RATIOS: Final[dict[str, tuple[str, str | None, str, tuple[str, float]]]] = {
    "(worker - plain) / bare": ("worker_us", "plain_us", "bare_us", ("<=", 2)),
    "naive / worker": ("naive_us", None, "worker_us", (">=", 15)),
}


def of_record() -> Found:
    """The figures that README.md of this folder has, measured by whoever wrote them there."""
    return msgspec.json.decode(Path(__file__).with_name("figures.json").read_bytes(), type=Found)


def drawn(found: Found) -> Table:
    """The figures with their targets, as far as they were measured, beside those of record."""
    columns = ("figure", "what", "measured", "of record", "target", "")
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    last = of_record()
    for name, (what, unit, target) in TARGETS.items():
        if name in found:
            before = shown(last[name]) if name in last else ""
            table.add_row(name, f"{what} ({unit})", shown(found[name]), before, *_verdict(found[name], target))
    for name, (top, less, bottom, target) in _RATIOS.items():
        ratio = _ratio(found, top, less, bottom)
        if ratio is not None:
            before = _ratio(last, top, less, bottom)
            shown_before = "" if before is None else shown(before)
            table.add_row(name, "ratio", shown(ratio), shown_before, *_verdict(ratio, target))
    return table


def _ratio(found: Found, top: str, less: str | None, bottom: str) -> float | None:
    if not {top, bottom} <= found.keys() or (less is not None and less not in found):
        return None
    return (found[top] - (found[less] if less else 0.0)) / found[bottom]


def shown(figure: float) -> str:
    """Three digits are more than the machine's noise leaves."""
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:.2f}"


def _verdict(figure: float, target: tuple[str, float] | None) -> tuple[str, str]:
    if target is None:
        return "", ""
    direction, limit = target
    reached = figure <= limit if direction == "<=" else figure >= limit
    return f"{direction} {limit:,}", "[green]reached" if reached else "[red]missed"
