"""Named features of a user, over which a policy's segments and tiers are stated.

One small file per family, one line each in the registry; the conformance suite (`tests/unit/test_features.py`) runs on
every one by itself.
"""

from typing import Final

from pipeline.features.base import NEVER, Feature, Scene, Value
from pipeline.features.orders import ORDERS, ORDERS_90D, ORDERS_365D, SPENT, VALUE_90D, VALUE_365D
from pipeline.features.origin import FIRST_CHANNEL, LAST_CHANNEL, LOCALE
from pipeline.features.score import P_ALIVE, RISK
from pipeline.features.silence import ACTIVE_DAYS, AGE_DAYS, SILENCE_DAYS
from pipeline.features.standing import ACTIVATED, LIFECYCLE, TIER
from pipeline.features.worth import VALUE, VALUE_AT_STAKE

FEATURES: Final[dict[str, Feature]] = {
    feature.name: feature
    for feature in (
        *(SILENCE_DAYS, AGE_DAYS, ACTIVE_DAYS),
        *(ORDERS, SPENT, ORDERS_90D, ORDERS_365D, VALUE_90D, VALUE_365D),
        *(LIFECYCLE, TIER, ACTIVATED),
        *(FIRST_CHANNEL, LAST_CHANNEL, LOCALE),
        *(P_ALIVE, RISK),
        *(VALUE, VALUE_AT_STAKE),
    )
}
"""Name in the policy -> feature; in this order they are tested, so that what costs more is asked last."""

__all__ = ["FEATURES", "NEVER", "Feature", "Scene", "Value"]
