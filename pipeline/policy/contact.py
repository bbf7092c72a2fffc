"""Reading what holds for every contact: consent, caps, quiet hours, perks."""

import re
from decimal import Decimal
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from pipeline.money import MoneyError, minor_units
from pipeline.policy.compiled import Basis, Caps, Consent, Perk, QuietHours
from pipeline.policy.form import Form, Kind, Mistyped, Section, choice, decimal, integer, name, show, text
from pipeline.policy.yaml_lines import Node, Scalar
from pipeline.zones import zone

MAX_PERKS: Final = 64
MAX_CONTACTS: Final = 64
"""More contacts in a week than this can't be capped: the row keeps no more."""
_BASIS: Final[Kind[Basis]] = choice(("opt_in", "opt_out"))
_CLOCK: Final = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")


class ContactPolicy(msgspec.Struct, frozen=True):
    """What the sections say; see `Policy`."""

    consent: dict[str, Consent]
    caps: Caps
    channel_caps: dict[str, Caps]
    quiet_hours: QuietHours | None
    perks: dict[str, Perk]


def read_contact(form: Form, top: Section, currency: str) -> ContactPolicy:
    """The sections `consent`, `caps`, `quiet_hours` and `perks`; amounts are in major units of `currency`."""
    caps = top.section("caps", (*Caps.__struct_fields__, "channels"))
    channel_caps = {}
    for key, node in form.pairs(caps.node("channels"), "channels"):
        channel_caps[key.text] = _caps(Section(form, node, f"the caps of {show(key)}", Caps.__struct_fields__))
    return ContactPolicy(
        _consent(form, top.node("consent")),
        _caps(caps),
        channel_caps,
        _quiet_hours(top),
        _perks(form, top.node("perks"), currency),
    )


def _consent(form: Form, node: Node | None) -> dict[str, Consent]:
    found = {}
    for key, value in form.pairs(node, "consent"):
        channel = form.value(key, key, name, "-")
        section = Section(form, value, f"the consent of {show(key)}", Consent.__struct_fields__, key.line)
        found[channel] = Consent(section.need("basis", _BASIS, "opt_in"), section.need("trait", text, channel))
    return found


def _caps(section: Section) -> Caps:
    limit = integer(1, MAX_CONTACTS)
    caps = Caps(section.get("per_day", limit, None), section.get("per_week", limit, None))
    if section.sound and caps.per_day is not None and caps.per_week is not None and caps.per_day > caps.per_week:
        section.problem("per_day", f"per_day ({caps.per_day}) can't be above per_week ({caps.per_week})")
    return caps


def _quiet_hours(top: Section) -> QuietHours | None:
    if "quiet_hours" not in top:
        return None
    section = top.section("quiet_hours", ("from", "to", "timezone"))
    start, end = section.need("from", _minute, 0), section.need("to", _minute, 1)
    found = QuietHours(start, end, section.need("timezone", _timezone, "UTC"))
    if section.sound and start == end:
        section.problem("to", "from and to are the same: that is no time at all, or all of it")
    return found


def _minute(node: Node) -> int:
    found = _CLOCK.fullmatch(node.text) if isinstance(node, Scalar) else None
    if found is None:
        raise Mistyped('a time of day such as "22:00"')
    return int(found[1]) * 60 + int(found[2])


def _timezone(node: Node) -> str:
    found: ZoneInfo | None = zone(node.text) if isinstance(node, Scalar) else None
    if found is None:
        raise Mistyped("an IANA time zone such as Europe/Berlin")
    return str(found)


def _perks(form: Form, node: Node | None, currency: str) -> dict[str, Perk]:
    found: dict[str, Perk] = {}
    for item in form.items(node, "perks", MAX_PERKS):
        section = Section(form, item, "a perk", Perk.__struct_fields__)
        identity = section.need("id", name, "-")

        def amount(node: Node) -> int:
            try:
                return minor_units(Decimal(decimal(node)), currency)
            except MoneyError as error:
                raise Mistyped(f"an amount in {currency} ({error})") from None

        perk = Perk(identity, section.need("cost", amount, 1), section.need("budget", amount, 1))
        if section.sound and perk.budget < perk.cost:
            section.problem("budget", "the budget does not pay for a single one")
        if identity in found:
            section.problem("id", f"the perk '{identity}' is given twice")
        found[identity] = perk
    return found
