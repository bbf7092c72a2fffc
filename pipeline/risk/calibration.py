"""Calibration: a monotone map from a score's log-odds to a probability, as knots.

Two knots are a line in log-odds, which is Platt's scaling (Platt 1999); more of them are a smoothed isotonic
regression (Zadrozny & Elkan 2002).
"""

from bisect import bisect_right
from itertools import pairwise
from math import exp, isfinite
from typing import Final

import msgspec

CERTAIN: Final = 12.0
"""Log-odds beyond which nothing is told apart: a probability of 6e-6."""


class Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Log-odds in (`scores`, rising) and out (`logits`, never falling); linear between knots, the outer lines go on.

    Raises ValueError on knots that are no such map.
    """

    scores: tuple[float, ...] = (0.0, 1.0)
    logits: tuple[float, ...] = (0.0, 1.0)

    def __post_init__(self) -> None:
        """Check the knots."""
        scores, logits = self.scores, self.logits
        sound = len(scores) == len(logits) >= 2 and all(map(isfinite, scores + logits))
        if not sound or any(b <= a for a, b in pairwise(scores)):
            raise ValueError("calibration needs two or more knots with rising scores")
        if any(b < a for a, b in pairwise(logits)):
            raise ValueError("calibration must not fall")

    def logit(self, score: float) -> float:
        """Calibrated log-odds, at most `CERTAIN` either way."""
        scores, logits = self.scores, self.logits
        last = len(scores) - 1
        i = min(max(bisect_right(scores, score), 1), last)
        slope = (logits[i] - logits[i - 1]) / (scores[i] - scores[i - 1])
        return min(max(logits[i - 1] + slope * (score - scores[i - 1]), -CERTAIN), CERTAIN)

    def probability(self, score: float) -> float:
        """Calibrated probability."""
        return 1 / (1 + exp(-self.logit(score)))


IDENTITY: Final = Calibration()
