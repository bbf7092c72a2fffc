"""A backtest as a picture: SVG, two panels over the weeks of the history. Plain text, no library."""

from collections import Counter
from collections.abc import Iterator, Sequence
from math import ceil, log10
from typing import Final
from xml.sax.saxutils import escape

from pipeline.backtest.figures import Backtest, Week

# Okabe and Ito's colours: told apart by colour-blind people too.
COLOURS: Final = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
_OTHERS: Final = "#999999"
_LOST: Final = ("#444444", "#d0d0d0")
_WIDTH: Final = 960
_LEFT: Final = 60
_RIGHT: Final = 20
_ROOM: Final = _WIDTH - _LEFT - _RIGHT
_PANEL: Final = 150
_ROW: Final = 18  # of a legend
_TICKS: Final = 8
_LINES: Final = 4  # of a scale, at most
_BAR: Final = 40.0  # px, the widest
_EM: Final = 0.6  # width of a character in its size: more than that of common fonts

Entry = tuple[str, str]
"""Of a legend: a colour, and what has it."""


def picture(found: Backtest, title: str) -> str:
    """Sends by rule and week (what was flagged, if nothing is sent), and below it the lost users of each week, with
    those whom a rule had flagged in time. Of more rules than there are colours the smaller ones share one.
    """
    sends = any(week.sent for week in found.weeks)
    counts = [week.sent if sends else week.flagged for week in found.weeks]
    rules, columns = _by_rule([rule.rule for rule in found.rules], counts)
    legend, upper = _legend(56, rules)
    share = found.coverage.share
    in_time = "flagged in time" if share is None else f"flagged in time ({100 * share:.1f} %)"
    lost = [(_LOST[0], in_time), (_LOST[1], "not in time")]
    below, lower = _legend(upper + _PANEL + 62, lost)
    height = lower + _PANEL + 40
    size = f'width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" fill="#333">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
        _text(_LEFT, 24, _cut(title, _ROOM, 16), size=16),
        _text(_LEFT, 46, "triggers a week" if sends else "flagged a week (nothing is sent)"),
        *legend,
        *_bars(upper, columns, [colour for colour, _ in rules]),
        *_weeks(upper + _PANEL, found.weeks),
        _text(_LEFT, upper + _PANEL + 52, "users lost in that week" if share is not None else "nobody was lost"),
        *below,
        *_bars(lower, [[week.in_time, week.lost - week.in_time] for week in found.weeks], _LOST),
        *_weeks(lower + _PANEL, found.weeks),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _by_rule(rules: Sequence[str], counts: Sequence[dict[str, int]]) -> tuple[list[Entry], list[list[int]]]:
    """The legend, and a column for each week: those with a colour of their own in the policy's order, then the rest."""
    whole = Counter[str]()
    for week in counts:
        whole.update(week)
    largest = sorted(rules, key=lambda rule: -whole[rule])[: len(COLOURS)]
    own = [rule for rule in rules if rule in largest]
    entries = list(zip(COLOURS, own, strict=False))
    if rest := [rule for rule in rules if rule not in largest]:
        entries.append((_OTHERS, f"{len(rest)} others"))
    columns = [[*(week.get(rule, 0) for rule in own), sum(week.get(rule, 0) for rule in rest)] for week in counts]
    return entries, columns


def _legend(y: int, entries: Sequence[Entry]) -> tuple[list[str], int]:
    """What the colours stand for, in as many rows as it takes; and where the panel below begins."""
    parts, x = [], float(_LEFT)
    for colour, text in entries:
        shown = _cut(text, _ROOM / 2, 12)
        wide = 34 + _EM * 12 * len(shown)
        if x > _LEFT and x + wide > _WIDTH:
            x, y = float(_LEFT), y + _ROW
        parts.append(f'<rect x="{x:g}" y="{y}" width="10" height="10" fill="{colour}"/>')
        parts.append(_text(x + 14, y + 9, shown))
        x += wide
    return parts, y + 32


def _bars(top: int, columns: Sequence[Sequence[int]], colours: Sequence[str]) -> Iterator[str]:
    """Stacked bars and their scale."""
    step = _step(max((sum(column) for column in columns), default=0))
    lines = max(1, -(-max((sum(column) for column in columns), default=0) // step))
    for line in range(lines + 1):
        y = top + _PANEL * (1 - line / lines)
        yield f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:g}" y2="{y:g}" stroke="#ddd"/>'
        yield _text(_LEFT - 6, y + 4, _number(line * step), anchor="end")
    for index, column in enumerate(columns):
        x, wide = _place(index, len(columns))
        y = float(top + _PANEL)
        for colour, count in zip(colours, column, strict=False):
            if count:
                high = _PANEL * count / (lines * step)
                y -= high
                yield f'<rect x="{x:.2f}" y="{y:.2f}" width="{wide:.2f}" height="{high:.2f}" fill="{colour}"/>'


def _step(most: int) -> int:
    """1, 2 or 5 times a power of ten, so that a few of them reach `most`."""
    power: int = 10 ** max(0, ceil(log10(max(1, most) / _LINES)) - 1)
    return next(step for step in (power, 2 * power, 5 * power, 10 * power) if _LINES * step >= most)


def _number(value: int) -> str:
    return f"{value:,}" if value < 1_000_000 else f"{value / 1_000_000:g} M"


def _weeks(y: int, weeks: Sequence[Week]) -> Iterator[str]:
    """Dates of some Mondays below a panel."""
    for index in range(0, len(weeks), -(-len(weeks) // _TICKS) or 1):
        x, _ = _place(index, len(weeks))
        if x + _EM * 12 * len(weeks[index].start) <= _WIDTH:
            yield _text(x, y + 16, weeks[index].start)


def _place(index: int, count: int) -> tuple[float, float]:
    """Left edge and width of a week's bar."""
    slot = _ROOM / count
    wide = min(_BAR, 0.8 * slot)
    return _LEFT + index * slot + (slot - wide) / 2, wide


def _cut(text: str, room: float, size: int) -> str:
    """What fits."""
    most = int(room / (_EM * size))
    return text if len(text) <= most else text[: most - 1] + "…"


def _text(x: float, y: float, text: str, *, size: int = 12, anchor: str = "start") -> str:
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="{anchor}">{escape(text)}</text>'
