"""Models as JSON: a model alone, or as `rekindle fit` writes it, with where it comes from and how good it is."""

from typing import Final

import msgspec

from pipeline.risk.logistic import Logistic
from pipeline.risk.mbg import Mbg
from pipeline.risk.model import ChurnModel
from pipeline.risk.recency import Recency

AnyModel = Recency | Mbg | Logistic
"""Told apart in JSON by `kind`: name and version of its form."""


class Measure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A figure and the middle 95 % of its bootstrap."""

    value: float
    low: float
    high: float


class Judgement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`auc`; `logloss` (nats); `ece`: mean gap between foretold and seen in 15 bins of equal mass; `lift10`: how many
    of the tenth of greatest risk were silent, against all. `bins`: foretold, seen and samples of each bin; `gains`:
    share of the silent who are among the first 5, 10 .. 100 % by risk.
    """

    auc: Measure
    logloss: Measure
    ece: Measure
    lift10: Measure
    bins: tuple[tuple[float, float, int], ...]
    gains: tuple[float, ...]


class Span(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Snapshots from `first` to `last` (ms, effective time): their number, their samples of users who were active in
    the two horizons before, how many users these are, and which share of the samples was silent afterwards.
    """

    first: int
    last: int
    snapshots: int
    samples: int
    users: int
    silent: float


class Events(msgspec.Struct, frozen=True):
    """What became of the events of a history: read = applied + duplicate + rejected; `reasons` of the rejected by code,
    the most frequent first. It is told beside a model and is no part of its document.
    """

    read: int
    applied: int
    duplicate: int
    rejected: int
    reasons: dict[str, int]

    @property
    def refused_share(self) -> float:
        """Of those read."""
        return self.rejected / self.read if self.read else 0.0


class Renewal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a renewed calibration is from: what became of the `scores` that the model `of` (hash) told and whose
    horizon ended on days since 1970 `since` to `until`. The errors (ECE within bands of five percent) are of the later
    half of them, the second one by a calibration that was renewed on the earlier half.
    """

    of: str
    since: int
    until: int
    scores: int
    ece_before: float
    ece_after: float


class Fitted(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="fitted/1"
):
    """A model and the history that it was fitted on, all of it. `held_out`: the figures of the same recipe fitted on
    what had matured before the snapshots `tested` began. `data`: sha256 (hex) of the events. `renewed`: the model has
    another calibration than the fit's.
    """

    model: AnyModel
    data: str
    trained: Span
    tested: Span
    held_out: Judgement
    renewed: Renewal | None = None

    def to_json(self) -> bytes:
        """The document, for a file and for the registry's `model/<sha256 of it>`; equal ones give equal bytes."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n"


_decoder: Final[msgspec.json.Decoder[AnyModel | Fitted]] = msgspec.json.Decoder(AnyModel | Fitted)


def read(body: bytes) -> AnyModel | Fitted:
    """The inverse of `ChurnModel.to_json` and of `Fitted.to_json`.

    Raises:
        ValueError: no such model, or of a form that this release doesn't know; the message says what is wrong.
    """
    return _decoder.decode(body)


def from_json(body: bytes) -> ChurnModel:
    """The model alone; see `read`."""
    found = read(body)
    return found.model if isinstance(found, Fitted) else found
