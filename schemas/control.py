"""Control messages on the user topic: what happens to a partition at a position of its log.

They carry the reserved key and header; the same content in a normal record is a dead letter. Who may write them is a
matter of the broker's ACLs.
"""

from typing import Final, Literal

import msgspec

CONTROL_KEY: Final = b"rekindle.control"
CONTROL_HEADER: Final = "rekindle-control"

TimeDomain = Literal["live", "played"]


class Control(msgspec.Struct, tag_field="type", omit_defaults=True):
    """Base of the control messages; `type` names the kind."""


class Domain(Control, tag="domain"):
    """First record of a partition only: whether time is the broker's (`live`, the default) or the player's
    (`played`).
    """

    domain: TimeDomain


class Tick(Control, tag="tick"):
    """Time has passed. `time` in ms: required in `played`, refused in `live`, where a tick means its broker append
    time.
    """

    time: int | None = None


class Adopt(Control, tag="adopt"):
    """From here on decide by this policy, churn model, lease or quantiles (sha256 of its body in the registry topic),
    or core version. `model`: "" ends the use of a model.
    """

    policy: str | None = None
    core: int | None = None
    model: str | None = None
    lease: str | None = None
    quantiles: str | None = None


class Hold(Control, tag="hold"):
    """The source is down: from here on silence does not count."""


class Release(Control, tag="release"):
    """The source speaks again; also forgets the learned hourly rates, so that a new level is learned afresh."""


class Pause(Control, tag="pause"):
    """Send nothing by this rule (None: by any rule)."""

    rule: str | None = None


class Resume(Control, tag="resume"):
    """Ends a pause of this rule (None: every pause)."""

    rule: str | None = None


class Gap(Control, tag="gap"):
    """Records [start, end) were lost before they were read; an operator accepted it."""

    start: int
    end: int


AnyControl = Domain | Tick | Adopt | Hold | Release | Pause | Resume | Gap


class Lease(msgspec.Struct):
    """Body of registry key `lease/<sha256>`: perk -> what each of 256 slots of users may have spent in all, in minor
    units of the reporting currency. A slot is murmur2(key) mod 256.
    """

    perks: dict[str, list[int]]


class Quantiles(msgspec.Struct):
    """Body of registry key `quantiles/<sha256>`: feature -> share of the users at its top -> the value (days in ms,
    money in minor units of the reporting currency) from which on one belongs to them.
    """

    features: dict[str, dict[float, float]]


class Skip(msgspec.Struct):
    """Body of registry key `skip/<partition>/<offset>`: this record made the core fail; dead-letter it."""

    partition: int
    offset: int
    reason: str


def control_headers(kind: str) -> list[tuple[str, bytes]]:
    """The headers of a control record."""
    return [(CONTROL_HEADER, kind.encode())]
