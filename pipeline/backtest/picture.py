"""A backtest as a picture: SVG, two panels over the weeks of the history. Plain text, no library."""

from collections.abc import Iterator, Sequence
from typing import Final
from xml.sax.saxutils import escape

from pipeline.backtest.figures import Backtest, Week

# Okabe and Ito's colours: told apart by colour-blind people too.
COLOURS: Final = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999")
_WIDTH: Final = 960
_LEFT: Final = 60
_RIGHT: Final = 20
_PANEL: Final = 150
_GAP: Final = 70
_TOP: Final = 60
_TICKS: Final = 8


def picture(found: Backtest, title: str) -> str:
    """Sends by rule and week (what was flagged, if nothing is sent), and below it the lost users of each week, with
    those whom a rule had flagged in time.
    """
    sends = any(week.sent for week in found.weeks)
    columns = [week.sent if sends else week.flagged for week in found.weeks]
    rules = [rule.rule for rule in found.rules]
    upper, lower = _TOP + 30, _TOP + 30 + _PANEL + _GAP
    height = lower + _PANEL + 40
    share = "nobody was lost" if found.coverage.share is None else f"{found.coverage.share:.1%} flagged in time"
    size = f'width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" fill="#333">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
        _text(_LEFT, 24, title, size=16),
        _text(_LEFT, 46, "triggers a week" if sends else "flagged a week (nothing is sent)"),
        *_legend(rules),
        *_bars(upper, [[column.get(rule, 0) for rule in rules] for column in columns], COLOURS),
        *_weeks(upper + _PANEL, found.weeks),
        _text(_LEFT, lower - 14, f"users lost in that week, and of them flagged in time: {share}"),
        *_bars(lower, [[week.in_time, week.lost - week.in_time] for week in found.weeks], ("#009E73", "#d0d0d0")),
        *_weeks(lower + _PANEL, found.weeks),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _bars(top: int, columns: Sequence[Sequence[int]], colours: Sequence[str]) -> Iterator[str]:
    """Stacked bars and their scale."""
    most = max((sum(column) for column in columns), default=0) or 1
    width = (_WIDTH - _LEFT - _RIGHT) / max(1, len(columns))
    for share, label in ((0.0, 0), (0.5, most / 2), (1.0, most)):
        y = top + _PANEL * (1 - share)
        yield f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:g}" y2="{y:g}" stroke="#ddd"/>'
        yield _text(_LEFT - 6, y + 4, f"{label:,.0f}" if label == int(label) else f"{label:,.1f}", anchor="end")
    for index, column in enumerate(columns):
        y = float(top + _PANEL)
        for place, count in enumerate(column):
            if count:
                high = _PANEL * count / most
                y -= high
                yield (
                    f'<rect x="{_LEFT + index * width + width * 0.1:.2f}" y="{y:.2f}" width="{width * 0.8:.2f}" '
                    f'height="{high:.2f}" fill="{colours[place % len(colours)]}"/>'
                )


def _weeks(y: int, weeks: Sequence[Week]) -> Iterator[str]:
    """Dates of some Mondays below a panel."""
    width = (_WIDTH - _LEFT - _RIGHT) / max(1, len(weeks))
    for index in range(0, len(weeks), -(-len(weeks) // _TICKS) or 1):
        yield _text(_LEFT + index * width, y + 16, weeks[index].start)


def _legend(rules: Sequence[str]) -> Iterator[str]:
    x = float(_LEFT)
    for place, rule in enumerate(rules):
        yield f'<rect x="{x:g}" y="{_TOP}" width="10" height="10" fill="{COLOURS[place % len(COLOURS)]}"/>'
        yield _text(x + 14, _TOP + 9, rule)
        x += 34 + 6.5 * len(rule)


def _text(x: float, y: float, text: str, *, size: int = 12, anchor: str = "start") -> str:
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="{anchor}">{escape(text)}</text>'
