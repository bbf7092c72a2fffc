"""The demo's terminal view: one picture of a moment, drawn by rich; the same in one line where there is no terminal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Final

from rich import box
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from agents.demo.staff import Member
from pipeline.sentences import because, short
from schemas.trigger import Gate, RecallData, Trigger

COLORS: Final = {"new": "cyan", "active": "green", "at_risk": "yellow", "dormant": "red", "returned": "magenta"}
"""Stage of the lifecycle -> its color, in the order in which they are shown."""
_TITLE: Final = "CDNOW 1997-98: 2,357 customers"
_NOTE: Final = "real purchases in accelerated event time; synthetic: campaigns, times of day, broken messages"
_SHORT_NOTE: Final = "real purchases, accelerated; synthetic: campaigns, hours, broken messages"
_LINES: Final = 8  # of triggers, at most
_OTHERS: Final = 15  # all other lines
_WIDE: Final = 100  # columns
_FRAMES: Final = 8  # columns: of the two around a list
_SVG_WIDTH: Final = 108
_EIGHTHS: Final = " ▏▎▍▌▋▊▉█"


@dataclass
class Scene:
    """What is to be seen at a moment. Times in ms."""

    where: str
    """Which Kafka."""
    start: int
    end: int
    now: int
    events: int
    """Messages of the whole history."""
    read: int
    """Messages of them that have been read."""
    rate: float
    stages: Mapping[str, int]
    sent: int
    recent: Sequence[Trigger]
    workers: Sequence[Member]

    @property
    def share(self) -> float:
        """Of the history, 0 to 1."""
        return (self.now - self.start) / max(1, self.end - self.start)


def date(ms: int) -> str:
    """1997-03-14."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d")


def line(scene: Scene) -> str:
    """The moment in one line of plain text."""
    stages = "  ".join(f"{stage} {scene.stages.get(stage, 0):,}" for stage in COLORS)
    last = f"  last: {scene.recent[-1].subject}, {_reason(scene.recent[-1].data)}" if scene.recent else ""
    return f"{date(scene.now)}  {scene.share:4.0%}  read {scene.read:,}  {stages}  triggers {scene.sent:,}{last}"


def picture(scene: Scene, width: int = 110, height: int = 40) -> RenderableType:
    """The moment as a picture for a terminal of this size."""
    wide = width >= _WIDE
    sides = Table.grid(expand=True, padding=(0, 1, 0, 0))
    sides.add_column(ratio=4 if wide else 5)
    sides.add_column(ratio=6)
    sides.add_row(_users(scene, wide), _workers(scene, wide))
    lines = max(1, min(_LINES, height - _OTHERS - 1))
    body = Group(
        _header(scene, wide),
        _progress(scene),
        sides,
        _triggers(scene, width, lines),
        Text(_NOTE if wide else _SHORT_NOTE, style="dim", no_wrap=True, overflow="ellipsis"),
    )
    return Panel(body, box=box.ROUNDED, border_style="dim", title="[bold]rekindle demo[/]", title_align="left")


def save_picture(scene: Scene, path: Path) -> None:
    """The picture as an SVG file, the same text that a terminal shows."""
    console = Console(record=True, width=_SVG_WIDTH, file=StringIO(), force_terminal=True, color_system="truecolor")
    console.print(picture(scene))
    path.parent.mkdir(parents=True, exist_ok=True)
    console.save_svg(str(path), title="make demo")


def _reason(data: RecallData, room: int = 1000) -> str:
    """Why, and how sure, in at most so many characters if that can be."""
    found = {gate.feature: gate for gate in data.explain}
    parts = [_why(found) or because(data.explain)]
    if "active_days" in found:
        parts.append(f"came on {found['active_days'].value} days")
    if data.risk:
        parts.append(f"risk {data.risk.p:.2f}")
    while len(parts) > 1 and len("; ".join(parts)) > room:
        parts.pop()
    return "; ".join(parts)


def _why(found: Mapping[str, Gate]) -> str:
    """What made the rule due, shorter than `because` says it: a line of the view has little room."""
    silence = found.get("silence_days")
    silent = f"silent {short(silence.value)} d" if silence else ""
    if (alive := found.get("p_alive")) is not None:
        return ", ".join(filter(None, (f"P(alive) < {short(alive.threshold)}", silent)))
    if (segment := found.get("segment")) is not None:
        return ", ".join(filter(None, (f"entered {segment.value}", silent)))
    return silent


def _header(scene: Scene, wide: bool) -> RenderableType:
    row = Table.grid(expand=True)
    row.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    row.add_column(justify="right", no_wrap=True)
    row.add_row(Text(_TITLE + " of a music shop" * wide, style="bold"), Text(scene.where, style="dim"))
    return row


def _progress(scene: Scene) -> RenderableType:
    done, whole = scene.now - scene.start, max(1, scene.end - scene.start)
    row = Table.grid(expand=True, padding=(0, 2, 0, 0))
    row.add_column(no_wrap=True)
    row.add_column(ratio=1)
    row.add_column(no_wrap=True, justify="right")
    rate = f"{scene.rate:,.0f} events/s" if scene.rate >= 0.5 else "quiet"
    row.add_row(
        Text(datetime.fromtimestamp(scene.now / 1000, UTC).strftime("%a %d %b %Y"), style="bold cyan"),
        ProgressBar(total=whole, completed=done, complete_style="cyan", finished_style="green"),
        Text(f"{scene.read:,} of {scene.events:,} events   {rate}"),
    )
    return row


def _users(scene: Scene, wide: bool) -> RenderableType:
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(no_wrap=True)
    most = max(1, *scene.stages.values()) if scene.stages else 1
    for stage, color in COLORS.items():
        count = scene.stages.get(stage, 0)
        grid.add_row(
            Text(stage.replace("_", " "), style=color),
            f"{count:,}",
            Text(bar(count / most, 16 if wide else 12), style=color),
        )
    return Panel(
        grid, title=f"users: {sum(scene.stages.values()):,}", title_align="left", box=box.ROUNDED, border_style="dim"
    )


def bar(share: float, width: int) -> str:
    """A bar of `share` (0 to 1) of so many columns, to an eighth."""
    full, rest = divmod(round(share * width * 8), 8)
    return "█" * full + _EIGHTHS[rest].strip()


def _workers(scene: Scene, wide: bool) -> RenderableType:
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    grid.add_column("worker", no_wrap=True)
    for name in ("partitions", "records/s", "lag", "memory") if wide else ("partitions", "records/s"):
        grid.add_column(name, justify="right", no_wrap=True)
    for member in scene.workers:
        if member.alive:
            state = Text(f"● {member.number}", style="green")
            state.append(f" pid {member.process.pid}", style="dim")
            figures = [str(member.partitions), f"{member.rate:,.0f}", f"{member.lag:,}"]
            figures.append(f"{member.memory / 2**20:.0f} MiB")
            grid.add_row(state, *figures[: len(grid.columns) - 1])
        else:
            state = Text(f"○ {member.number}", style="red")
            state.append(f" ended ({member.process.returncode})", style="dim")
            grid.add_row(state)
    hint = Text("kill -9 one: the other takes over" + (", nothing is lost" if wide else ""), style="dim italic")
    return Panel(Group(grid, Text(), hint), title="workers", title_align="left", box=box.ROUNDED, border_style="dim")


def _triggers(scene: Scene, width: int, lines: int) -> RenderableType:
    wide = width >= _WIDE
    sizes = (6, 13, 11, 6) if wide else (6, 13, 11)  # the tier is what a narrow terminal can do without
    grid = Table.grid(padding=(0, 2, 0, 0), expand=True)
    for size in sizes:
        grid.add_column(no_wrap=True, width=size)
    grid.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    room = width - _FRAMES - sum(sizes) - 2 * len(sizes)
    for trigger in list(scene.recent)[-lines:]:
        day, user, data = _day(trigger.time), trigger.subject, trigger.data
        rule = data.rule_id + (f" {data.step + 1}" if data.step else "")
        tier = Text(data.tier or "", style="bright_yellow" if data.tier == "gold" else "white")
        cells = (Text(day, style="dim"), user, Text(rule, style="yellow"), tier)[: len(sizes)]
        grid.add_row(*cells, _reason(data, room))
    for _ in range(lines - len(scene.recent)):
        grid.add_row("")
    return Panel(
        grid, title=f"triggers: {scene.sent:,} so far", title_align="left", box=box.ROUNDED, border_style="dim"
    )


def _day(time: str) -> str:
    """1997-03-02T08:00:00.000Z -> 02 Mar; the year stands at the top."""
    return datetime.fromisoformat(time).strftime("%d %b")
