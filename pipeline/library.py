"""What adopt records name: bodies of the registry topic by their hash, read and checked."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

from pipeline.perks import SLOTS
from pipeline.policy import Policy, PolicyError, parse
from pipeline.records import MissingBody, UnreadableBody
from pipeline.risk import ChurnModel, from_json
from schemas.codec import DECODE_ERRORS, decode_lease, decode_quantiles, decode_skip
from schemas.control import Adopt, Skip

KINDS = ("policy", "model", "lease", "quantiles")
"""What can be adopted; each is a field of `Adopt`, and a part of the key `kind/hash`."""


class Library:
    """The registry of a partition. Everything raises MissingBody if a body isn't there, UnreadableBody if it can't be
    read; no hash ("") is nothing adopted.
    """

    __slots__ = ("_bodies",)

    def __init__(self, bodies: Mapping[str, bytes]) -> None:
        self._bodies = bodies

    def need(self, message: Adopt) -> None:
        """Check that all that `message` names is there: all of it is adopted, or nothing yet."""
        for kind in KINDS:
            digest = getattr(message, kind)
            if digest:
                self._body(kind, digest)

    def policy(self, digest: str) -> Policy:
        """A policy."""
        return _policy(digest, self._body("policy", digest))

    def model(self, digest: str) -> ChurnModel | None:
        """A churn model."""
        return _model(digest, self._body("model", digest)) if digest else None

    def leases(self, digest: str) -> Mapping[str, Sequence[int]]:
        """Perk -> by slot what it may have spent, minor units."""
        return _lease(digest, self._body("lease", digest)) if digest else {}

    def quantiles(self, digest: str) -> Mapping[str, Mapping[float, float]]:
        """Feature -> share at the top -> threshold."""
        return _quantiles(digest, self._body("quantiles", digest)) if digest else {}

    @property
    def skips(self) -> bool:
        """Whether any record is to be passed over."""
        return any(key.startswith("skip/") for key in self._bodies)

    def skip(self, partition: int, offset: int) -> Skip | None:
        """Why an operator wants this record passed over, if one does."""
        body = self._bodies.get(f"skip/{partition}/{offset}")
        return None if body is None else decode_skip(body)

    def _body(self, kind: str, digest: str) -> bytes:
        body = self._bodies.get(f"{kind}/{digest}")
        if body is None:
            raise MissingBody(f"{kind}/{digest}")
        return body


@lru_cache(maxsize=16)
def _policy(digest: str, body: bytes) -> Policy:
    try:
        return parse(body, name=f"policy/{digest[:12]}")
    except PolicyError as error:
        raise UnreadableBody(f"the adopted policy {digest} can't be read: {error}") from error


@lru_cache(maxsize=16)
def _model(digest: str, body: bytes) -> ChurnModel:
    try:
        return from_json(body)
    except ValueError as error:
        raise UnreadableBody(f"the adopted model {digest} can't be read: {error}") from error


@lru_cache(maxsize=16)
def _lease(digest: str, body: bytes) -> Mapping[str, Sequence[int]]:
    try:
        perks = decode_lease(body).perks
    except DECODE_ERRORS as error:
        raise UnreadableBody(f"the adopted lease {digest} can't be read: {error}") from error
    if any(len(slots) != SLOTS for slots in perks.values()):
        raise UnreadableBody(f"the adopted lease {digest} does not name {SLOTS} slots")
    return perks


@lru_cache(maxsize=16)
def _quantiles(digest: str, body: bytes) -> Mapping[str, Mapping[float, float]]:
    try:
        return decode_quantiles(body).features
    except DECODE_ERRORS as error:
        raise UnreadableBody(f"the adopted quantiles {digest} can't be read: {error}") from error
