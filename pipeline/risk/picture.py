"""Calibration and gains of a model as pictures: SVG, plain text, no library."""

from collections.abc import Iterator, Sequence
from typing import Final
from xml.sax.saxutils import escape

from pipeline.risk.document import Judgement

_SIDE: Final = 320
_LEFT: Final = 64
_TOP: Final = 60
_WIDTH: Final = _LEFT + _SIDE + 24
_HEIGHT: Final = _TOP + _SIDE + 56
# Okabe and Ito's colours: told apart by colour-blind people too.
_BLUE: Final = "#0072B2"
_GREY: Final = "#999999"

Point = tuple[float, float]


def calibration(found: Judgement) -> str:
    """What was foretold (x) and what was seen (y), a dot for each bin of equal mass; on the diagonal both agree."""
    dots = [(foretold, seen) for foretold, seen, _ in found.bins]
    title = f"Calibration: ECE {found.ece.value:.3f}"
    note = "each dot as many samples; on the line: as foretold"
    return _drawn(title, note, "foretold to be silent", "were silent", [*_line([(0, 0), (1, 1)], _GREY), *_dots(dots)])


def lift(found: Judgement) -> str:
    """Which share of the silent (y) is among so many of the greatest risk (x); on the diagonal by chance."""
    curve = [(0.0, 0.0), *(((place + 1) / len(found.gains), gain) for place, gain in enumerate(found.gains))]
    title = f"Lift: {found.lift10.value:.2f} in the top 10 %"
    body = [*_line([(0, 0), (1, 1)], _GREY), *_line(curve, _BLUE), *_dots(curve[1:])]
    return _drawn(title, "on the line: found by chance", "of the users, greatest risk first", "of the silent", body)


def _drawn(title: str, note: str, below: str, left: str, body: Sequence[str]) -> str:
    size = f'width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}"'
    middle = _TOP + _SIDE / 2
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" fill="#333">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
        _text(_LEFT, 24, title, size=16),
        _text(_LEFT, 44, note),
        *_grid(),
        _text(_LEFT + _SIDE / 2, _HEIGHT - 14, below, anchor="middle"),
        f'<g transform="rotate(-90 16 {middle:g})">{_text(16, middle, left, anchor="middle")}</g>',
        *body,
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _grid() -> Iterator[str]:
    for percent in range(0, 101, 20):
        x, y = _place((percent / 100, percent / 100))
        yield f'<line x1="{_LEFT}" x2="{_LEFT + _SIDE}" y1="{y:g}" y2="{y:g}" stroke="#ddd"/>'
        yield f'<line x1="{x:g}" x2="{x:g}" y1="{_TOP}" y2="{_TOP + _SIDE}" stroke="#ddd"/>'
        yield _text(_LEFT - 6, y + 4, f"{percent} %", anchor="end")
        yield _text(x, _TOP + _SIDE + 18, f"{percent} %", anchor="middle")


def _line(points: Sequence[Point], colour: str) -> Iterator[str]:
    places = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(_place, points))
    yield f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="1.5"/>'


def _dots(points: Sequence[Point]) -> Iterator[str]:
    for x, y in map(_place, points):
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{_BLUE}"/>'


def _place(point: Point) -> Point:
    return _LEFT + _SIDE * point[0], _TOP + _SIDE * (1 - point[1])


def _text(x: float, y: float, text: str, *, size: int = 12, anchor: str = "start") -> str:
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="{anchor}">{escape(text)}</text>'
