"""Reports and amounts for a terminal: in major units, with the currency's code. With --json they stay minor units."""

from agents.cli.base import run, table
from agents.kafka.adopt import current_policy
from agents.kafka.publish import read_registry
from agents.settings import Settings
from pipeline.money import amount
from pipeline.reports import Table
from pipeline.reports.base import Value


def published_currency(settings: Settings) -> str:
    """The reporting currency of the policy that was published last. Raises Refusal."""
    return current_policy(run(settings, read_registry(settings))).currency.reporting


def report_table(found: Table, currency: str) -> None:
    """Print a table."""
    of = [currency if column in found.money else None for column in found.columns]
    table(found.columns, [list(map(_shown, row, of)) for row in found.rows])


def _shown(value: Value, currency: str | None) -> str:
    if value is None:
        return "-"
    if not isinstance(value, int):
        return str(value)
    return f"{value:,}" if currency is None else amount(value, currency)
