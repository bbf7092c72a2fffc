"""The history that the demo plays: CDNOW, the purchases of 2,357 customers of a music shop, 1997-01 to 1998-06.

The data are those of Fader and Hardie (2001), 1/10 of CDNOW's new customers of early 1997, as the `lifetimes` package
on PyPI carries them. Days and amounts are real. What a purchase came by and its time of day are synthetic, as are a few
repeated and broken messages; all of that follows from a hash and is the same on every machine.
"""

import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

import msgspec
import xxhash
from msgspec import structs

from agents.exits import Exit, Refusal
from agents.process import spawn_bound
from pipeline.play import Raw, in_order
from pipeline.units import DAY, MINUTE
from schemas.codec import rfc3339

CUSTOMERS: Final = 2_357
PURCHASES: Final = 6_919
LEARNED: Final = 10_135 * DAY
"""1997-10-01, ms: the demo's churn model is fitted on what came before; of what came later it knows nothing."""
REPEATED: Final = 24
"""Messages that a client sends once more, a minute later."""
BROKEN: Final = 4
"""Messages that are no purchases."""

_PACKAGE: Final = "lifetimes==0.11.3"
_MEMBER: Final = "lifetimes/datasets/CDNOW_sample.txt"
_SHA256: Final = "6fae10155c0b0ba363c2c386e30f77990d22328220efd862a5edd1443420d94a"

# Source, medium and name of a campaign, and how many of a hundred first purchases came by it. None: by nothing.
_CAME_BY: Final[tuple[tuple[tuple[str, str, str] | None, int], ...]] = (
    (None, 24),
    (("yahoo", "organic", "-"), 22),
    (("yahoo", "cpc", "new-releases"), 19),
    (("cd-reviews", "referral", "-"), 14),
    (("portal", "banner", "launch"), 12),
    (("fanclub", "affiliate", "partners"), 9),
)
_NEWSLETTER: Final = ("newsletter", "email", "weekly")
_SHOP_OPENS: Final = 7 * 60 * MINUTE
_SHOP_HOURS: Final = 16 * 60 * MINUTE


class Purchase(NamedTuple):
    """A line of the file. `day`: midnight UTC, ms; `cents`: US cents."""

    line: int
    customer: int
    day: int
    cds: int
    cents: int


def load(home: Path, say: Callable[[str], None] = lambda _: None) -> list[Purchase]:
    """The purchases, in order of customer and day; fetched into `home` on the first call (0.6 MB).

    Raises:
        Refusal: no network, or a file that is not the one expected.
    """
    path = home / "cdnow" / "CDNOW_sample.txt"
    try:
        if not path.exists() or _digest(path.read_bytes()) != _SHA256:
            say("fetching the CDNOW purchases: data file of the package lifetimes, from PyPI (once, 0.6 MB)")
            path.parent.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(prefix="download-", dir=path.parent) as folder:
                fetched = Path(folder, "sample.txt")
                fetched.write_bytes(_fetch(Path(folder)))
                fetched.replace(path)
        return list(_read(path.read_text()))
    except OSError as error:
        raise Refusal(Exit.USAGE, f"the demo's history can't be kept in {path.parent}: {error}") from error


def events(purchases: list[Purchase]) -> list[Raw]:
    """The messages of the history in order of time, the repeated and broken ones among them."""
    raws: list[Raw] = []
    first = set[int]()
    for purchase in purchases:
        new = purchase.customer not in first
        first.add(purchase.customer)
        raw = _event(purchase, _campaign(purchase, new=new))
        raws.append(raw)
        # Evenly spread, and none of the first day's: a client that timed out and tried again.
        if purchase.line % (PURCHASES // REPEATED) == 7 and len(raws) // (PURCHASES // REPEATED) < REPEATED:
            raws.append(structs.replace(raw, time=(raw.time or 0) + MINUTE))
    return in_order([*raws, *_broken(raws)])


def _event(purchase: Purchase, campaign: tuple[str, str, str] | None) -> Raw:
    user = f"customer-{purchase.customer:04}"
    # Two purchases of a customer on one day keep their order: the line is a part of the time.
    time = purchase.day + _SHOP_OPENS + _hash(purchase.customer, purchase.day) % _SHOP_HOURS + purchase.line % 60 * 1000
    context: dict[str, Any] = {}
    if campaign is not None:
        context["campaign"] = dict(zip(("source", "medium", "name"), campaign, strict=True))
    body = {
        "messageId": f"cdnow-{purchase.line}",
        "type": "track",
        "event": "Order Completed",
        "userId": user,
        "timestamp": rfc3339(time),
        "context": context,
        "properties": {
            "order_id": str(purchase.line),
            "revenue": purchase.cents / 100,
            "currency": "USD",
            "cds": purchase.cds,
        },
    }
    return Raw(user.encode(), msgspec.json.encode(body), time)


def _campaign(purchase: Purchase, *, new: bool) -> tuple[str, str, str] | None:
    """What brought this purchase: the first one its customer's own way, later ones mostly nothing or the newsletter."""
    draw = _hash("way", purchase.line) % 100
    if not new and draw < 80:
        return _NEWSLETTER if draw < 30 else None
    chosen = _hash("came by", purchase.customer) % 100
    for campaign, share in _CAME_BY:
        chosen -= share
        if chosen < 0:
            return campaign
    return None


def _broken(raws: list[Raw]) -> list[Raw]:
    """What every backend sends now and then: a cut message, an id that is none, a refund as an order, a wrong key."""

    def at(share: float) -> Raw:
        return raws[int(len(raws) * share)]

    cut, nobody, refund, other = at(0.2), at(0.4), at(0.6), at(0.8)
    return [
        structs.replace(cut, value=cut.value[: len(cut.value) // 2]),
        Raw(b"null", nobody.value.replace(nobody.key or b"", b"null").replace(b'"cdnow-', b'"null-'), nobody.time),
        structs.replace(
            refund, value=refund.value.replace(b'"revenue":', b'"revenue":-').replace(b'"cdnow-', b'"refund-')
        ),
        structs.replace(other, key=b"customer-0000", value=other.value.replace(b'"cdnow-', b'"other-')),
    ]


def _fetch(folder: Path) -> bytes:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary", ":all:", "--dest", str(folder), _PACKAGE]
    pip = spawn_bound(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    _, said = pip.communicate()
    if pip.returncode:
        words = [line for line in said.splitlines() if line.strip()] or ["it said nothing"]
        raise Refusal(
            Exit.USAGE,
            f"pip could not fetch {_PACKAGE}, whose data file the demo plays ({words[-1].strip()}); "
            "the network is needed once: connect and try again",
        )
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        data = archive.read(_MEMBER)
    if _digest(data) != _SHA256:
        raise Refusal(Exit.USAGE, f"{_MEMBER} of {_PACKAGE} is not the file that the demo expects: its SHA-256 differs")
    return data


def _read(text: str) -> Iterator[Purchase]:
    """Lines of: id in the full data set, customer, day as yyyymmdd, CDs, dollars."""
    for number, line in enumerate(text.splitlines(), start=1):
        _, customer, day, cds, dollars = line.split()
        midnight = datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC)
        yield Purchase(number, int(customer), int(midnight.timestamp()) * 1000, int(cds), round(float(dollars) * 100))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _hash(*parts: object) -> int:
    return xxhash.xxh3_64_intdigest("\x1f".join(map(str, parts)).encode())
