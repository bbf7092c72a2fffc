"""The naive reference agrees with the core."""

from itertools import count
from pathlib import Path

import pytest
from hypothesis import given

from pipeline.play import as_record, play
from pipeline.records import LogRecord
from tests.builders import digest, registry
from tests.property.histories import cdnow, needs_cdnow
from tests.property.policies import CALM
from tests.property.strategies import REGISTRY, logs
from tests.reference.agreement import check


@given(logs())
def test_the_core_and_the_naive_reference_agree_on_random_logs(records: list[LogRecord]) -> None:
    check(records, REGISTRY)


@needs_cdnow
@pytest.mark.parametrize("policy", ["default", "calm"])
def test_they_agree_on_a_real_purchase_history(policy: str) -> None:
    default = Path(__file__).parents[2] / "deploy" / "policy.yaml"
    text = default.read_text().replace("mode: shadow", "mode: live") if policy == "default" else CALM
    records = list(map(as_record, play(cdnow(most=600), digest(text)), count()))
    check(records, registry(text))
