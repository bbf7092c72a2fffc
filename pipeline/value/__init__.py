"""What a user is worth: expected order value x expected orders to a horizon. docs/methods/value.md has the sources."""

from pipeline.value.gamma_gamma import GammaGamma
from pipeline.value.orders import expected_days
from pipeline.value.worth import ValueModel, at_stake

__all__ = ["GammaGamma", "ValueModel", "at_stake", "expected_days"]
