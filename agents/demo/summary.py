"""What the demo ends with: the counts, the users, the decisions, who came back, the channels, and if it all adds up."""

import os
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from agents.demo.history import BROKEN, CUSTOMERS, LEARNED, PURCHASES, REPEATED
from agents.demo.view import COLORS, bar
from agents.evidence import Evidence
from agents.oracle import Findings
from agents.process import program
from agents.settings import Settings
from pipeline.position import Counts
from pipeline.reports import Span
from pipeline.reports.calibration import CALIBRATION
from pipeline.reports.calibration import tell as tell_calibration
from pipeline.reports.recall import RECALL, tell
from pipeline.state import decode_row
from pipeline.sums import CHANNELS, DECISIONS, OUTCOMES, RISK, SEGMENTS
from pipeline.sums.base import Dims
from pipeline.sums.channels import ORDERS, REVENUE
from pipeline.sums.outcomes import ALL_RULES, DECIDED, RECALLED
from pipeline.sums.population import P_ALIVE_BUCKETS
from pipeline.units import DAY

_FORETOLD: Final = LEARNED // DAY + 60
"""The first day on which a horizon ends of a score that was told after the model's fit."""


@dataclass
class Reach:
    """Users of a channel, each counted once: whom it brought first, whom it brought last, and of these who bought."""

    first: int = 0
    last: int = 0
    buyers: int = 0


def reach(evidence: Evidence) -> dict[str, Reach]:
    """Every channel that a user's row names."""
    found: dict[str, Reach] = {}
    for rows in evidence.state.values():
        for key, row in rows.items():
            if key[:1] == b"u" and (state := decode_row(row)).known:
                found.setdefault(state.journey.first, Reach()).first += 1
                channel = found.setdefault(state.journey.last, Reach())
                channel.last += 1
                channel.buyers += state.activity.order_day >= 0
    return found


@dataclass
class Result:
    """Everything that is known at the end."""

    counts: Counts
    stages: Mapping[str, int]
    sums: Mapping[tuple[str, Dims], list[int]]
    channels: Mapping[str, Reach]
    findings: Findings
    views: Sequence[str] | None = None
    """What is wrong with what readers see; None: there are no views."""

    @property
    def errors(self) -> list[str]:
        """What does not add up; empty: all is well."""
        found = []
        counts = self.counts
        if counts.read != counts.applied + counts.duplicate + counts.rejected:
            found.append("read is not applied + duplicate + rejected")
        for name, should in (("applied", PURCHASES), ("duplicate", REPEATED), ("rejected", BROKEN)):
            if (actual := getattr(counts, name)) != should:
                found.append(f"{name} is {actual:,} and should be {should:,}")
        if (users := sum(self.stages.values())) != CUSTOMERS:
            found.append(f"there are {users:,} users and should be {CUSTOMERS:,}")
        orders = sum(cell[ORDERS] for (name, _), cell in self.sums.items() if name == CHANNELS.name)
        if orders != PURCHASES:
            found.append(f"the channels add up to {orders:,} orders and should to {PURCHASES:,}")
        if (users := sum(reached.first for reached in self.channels.values())) != CUSTOMERS:
            found.append(f"the channels brought {users:,} users and should have {CUSTOMERS:,}")
        if not self.findings.ok:
            found.append("the oracle disagrees")
        if self.findings.behind:
            found.append(f"{self.findings.behind:,} records are not folded yet")
        return [*found, *(self.views or ()), *self.findings.details[:10]]


def report(result: Result, *, wide: bool) -> RenderableType:
    """The tables, side by side where there are 100 columns (`wide`)."""
    stocks = (_users(result), _groups(result), _risks(result))
    rows: list[RenderableType] = list(stocks)
    if wide:
        sides = Table.grid(padding=(0, 4, 0, 0))
        sides.add_row(*stocks)
        rows = [sides]
    rows += [Text(), _decisions(result), Text(), _returns(result)]
    rows += [Text(), _recalled(result), Text(), _foretold(result), Text(), _channels(result), Text()]
    return Group(_counts(result.counts), Text(), *rows, _verdict(result))


def _counts(counts: Counts) -> RenderableType:
    text = Text()
    text.append(f"read {counts.read:,}", style="bold")
    text.append(f" = applied {counts.applied:,} + duplicate {counts.duplicate:,} + rejected {counts.rejected:,}")
    text.append("   (repeats and broken messages are seeded)", style="dim")
    return text


def _table(title: str, *columns: str) -> Table:
    table = Table(
        title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim",
    )  # fmt: skip
    for column in columns:
        text = column.startswith("<")
        table.add_column(column.removeprefix("<"), justify="left" if text else "right", no_wrap=True)
    return table


def _users(result: Result) -> Table:
    table = _table("Users by stage", "<stage", "users", "share")
    whole = max(1, sum(result.stages.values()))
    for stage, color in COLORS.items():
        count = result.stages.get(stage, 0)
        table.add_row(Text(stage.replace("_", " "), style=color), f"{count:,}", f"{count / whole:.0%}")
    return table


def _decisions(result: Result) -> Table:
    found: Counter[tuple[str, str, str]] = Counter()
    for (name, dims), cell in result.sums.items():
        if name == DECISIONS.name:
            found[str(dims[1]), str(dims[2]), str(dims[3])] += cell[0]
    table = _table("Decisions", "<rule", "<decision", "<reason", "decisions")
    for (rule, decision, reason), count in sorted(found.items()):
        table.add_row(rule, decision, "" if reason == decision else reason, f"{count:,}")
    return table


def _returns(result: Result) -> Table:
    """Who bought again within the goal window, of all contacts of a rule, in both arms."""
    found: dict[str, dict[str, list[int]]] = {}
    for (name, dims), cell in result.sums.items():
        if name == OUTCOMES.name and dims[1] != ALL_RULES:
            counts = found.setdefault(str(dims[1]), {}).setdefault(str(dims[3]), [0, 0])
            counts[0] += cell[RECALLED]
            counts[1] += cell[DECIDED]
    table = _table("Came back within the goal window", "<rule", "of contacts sent", "of contacts held out")
    for rule, arms in sorted(found.items()):
        table.add_row(rule, *(_part(*arms.get(arm, (0, 0))) for arm in ("treatment", "holdout")))
    return table


def _part(came: int, whole: int) -> str:
    return f"{came:,} of {whole:,} ({came / max(1, whole):.1%})"


def _groups(result: Result) -> RenderableType:
    """Tiers, and the chance to see users again: the stocks of now."""
    tiers = {str(dims[1]): cell[0] for (name, dims), cell in result.sums.items() if name == SEGMENTS.name}
    table = _table("Users by group", "<tier or segment", "users")
    for group, users in sorted(tiers.items(), key=lambda item: -item[1]):
        table.add_row(group, f"{users:,}")
    return table


def _risks(result: Result) -> RenderableType:
    found = {str(dims[0]): cell[0] for (name, dims), cell in result.sums.items() if name == RISK.name}
    table = _table("Users by P(alive)", "<from", "users", "<")
    most = max(1, *found.values()) if found else 1
    for edge in reversed(P_ALIVE_BUCKETS):
        users = found.get(edge, 0)
        table.add_row(edge, f"{users:,}", Text(bar(users / most, 16), style="cyan"))
    return table


def _recalled(result: Result) -> RenderableType:
    title = Text("Did it work? (rekindle report recall)", style="bold")
    note = "Nobody wrote to these people in 1997: the arms were left alone, and differ by chance."
    lines = tell(RECALL.make(result.sums, Span()), "USD")
    return Group(title, Text("\n".join(lines)), Text(note, style="dim"))


def _foretold(result: Result) -> RenderableType:
    """The risk against what came, of the time that the model was not fitted on."""
    title = Text("Was the risk right? (rekindle report calibration --since 1997-11-30)", style="bold")
    lines = tell_calibration(CALIBRATION.make(result.sums, Span(_FORETOLD)), "USD")
    note = "P(no purchase within 60 days) by a model of the first nine months; of scores told after them."
    return Group(title, Text("\n".join(lines)), Text(note, style="dim"))


def _channels(result: Result) -> RenderableType:
    found: dict[str, list[int]] = {}
    for (name, dims), cell in result.sums.items():
        if name == CHANNELS.name:
            whole = found.setdefault(str(dims[1]), [0] * len(cell))
            for field, count in enumerate(cell):
                whole[field] += count
    table = _table("Channels", "<channel", "came by", "last touch", "buyers", "orders", "revenue")
    for channel, cell in sorted(found.items(), key=lambda item: -item[1][REVENUE]):
        users = result.channels.get(channel, Reach())
        figures = (users.first, users.last, users.buyers, cell[ORDERS])
        table.add_row(channel, *(f"{figure:,}" for figure in figures), f"${cell[REVENUE] / 100:,.2f}")
    notes = (
        "Users and buyers count once: by what brought them first, and last; an order by what brought it.",
        "Customers, days and amounts are CDNOW's. Campaigns are synthetic: seeded, the same on every run.",
    )
    return Group(table, Text("\n".join(notes), style="dim"))


def _verdict(result: Result) -> RenderableType:
    findings = result.findings
    text = Text()
    text.append("oracle  ", style="bold")
    text.append(
        f"lost {findings.lost}, wrong {findings.wrong}, duplicate {findings.duplicate}, "
        f"state errors {findings.state_errors}"
    )
    text.append(f"   ({findings.read:,} records replayed, all compared)", "dim")
    text.append("\nviews   ", style="bold")
    if result.views is None:
        text.append("off: there is no Redis")
    else:
        text.append("they differ" if result.views else "every row, sum and decision in Redis is the one in Kafka")
    for error in result.errors:
        text.append(f"\n✗ {error}", style="bold red")
    if not result.errors:
        text.append("\n✓ everything adds up", style="bold green")
    return text


@dataclass(frozen=True)
class Reader:
    """Somebody in another terminal: what to tell commands, the API's address, and a user who was to be recalled."""

    settings: Settings
    api: str | None = None
    user: str | None = None

    @property
    def exports(self) -> list[str]:
        """Variables that commands need there."""
        names = ("brokers", "topic_prefix", *(("redis_url",) if self.api else ()))
        return [
            f"{variable}={shlex.quote(value)}"
            for name in names
            for variable, value in ((f"REKINDLE_{name.upper()}", getattr(self.settings, name)),)
            if variable in os.environ or value != Settings.model_fields[name].default
        ]

    def questions(self, rekindle: str) -> list[tuple[str, str]]:
        """What to ask the API and the views, and what the answer is."""
        if self.api is None:
            return []
        of_user = [
            (f"curl {self.api}/users/{self.user}", "the API: a user, their risk, and why they are recalled"),
            (f"{rekindle} explain user {self.user}", "the same in words, gate by gate"),
        ]
        return [
            *(of_user if self.user else ()),
            (f"curl {self.api}/channels", "day by day: what brought customers and revenue"),
            (f"curl {self.api}/growth", "day by day: new, retained, returned, dormant"),
        ]


def what_next(reader: Reader, metrics: Sequence[str | None]) -> RenderableType:
    """Commands that work while the demo is up, as they have to be typed in another terminal."""
    exports = reader.exports
    rekindle = shlex.quote(program())
    rows = (
        *reader.questions(rekindle),
        (f"{rekindle} tail triggers", "what was to be sent, each with its reason"),
        (f"{rekindle} tail decisions --json", "every gate, value and threshold of each user considered"),
        (f"{rekindle} tail outcomes", "who came back"),
        (f"{rekindle} tail segments", "who entered and left a segment or a tier"),
        (f"{rekindle} deadletters list", "what was refused, and why"),
        (f"{rekindle} verify", "the oracle again"),
        (f"{rekindle} dump --out demo-dump", "all topics as files"),
        *((f"curl {address}", "the metrics of a worker") for address in metrics if address),
    )
    grid = Table.grid(padding=(0, 3, 0, 0))
    grid.add_column(no_wrap=True, min_width=max(len(command) for command, _ in rows))  # never cut: it is to be typed
    grid.add_column(style="dim")
    for command, says in rows:
        grid.add_row(command, says)
    head = Text("\nTry next, in another terminal", style="bold")
    told = [Text(f"export {' '.join(exports)}", overflow="fold")] if exports else []
    return Group(head, *told, grid, Text("\nCtrl-C ends the demo.", style="bold"))
