"""The naive reference agrees with the core."""

from hypothesis import given

from pipeline.records import LogRecord
from tests.property.strategies import REGISTRY, logs
from tests.reference.agreement import check


@given(logs())
def test_the_core_and_the_naive_reference_agree_on_random_logs(records: list[LogRecord]) -> None:
    check(records, REGISTRY)
