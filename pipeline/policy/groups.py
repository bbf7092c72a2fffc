"""Reading segments and tiers: comparisons of named features."""

from collections.abc import Mapping
from decimal import Decimal
from difflib import get_close_matches
from functools import reduce
from operator import or_
from typing import Any, Final, NamedTuple

from pipeline.features import FEATURES, Feature
from pipeline.features.base import NEWS, Pace
from pipeline.lifecycle import NEW, STAGES
from pipeline.money import MoneyError, minor_units
from pipeline.policy.compiled import Segment, Test
from pipeline.policy.form import Form, Kind, Mistyped, Section, decimal, integer, name, present, share, show, texts
from pipeline.policy.yaml_lines import Fields, Items, Node, Scalar
from pipeline.risk import FAR
from pipeline.units import DAY, HOUR

MAX_SEGMENTS: Final = 64
MAX_TIERS: Final = 16
_COMPARISONS: Final = ("at_least", "below", "top")
_EXAMPLES: Final = {"count": "3", "days": "7", "share": "0.5", "money": "100"}
_NOTHING: Final[tuple[str, ...]] = ()
_FLAGS: Final = {"true": True, "false": False}


class Names(NamedTuple):
    """What a policy's comparisons refer to: the reporting currency, channels, tiers."""

    currency: str
    channels: tuple[str, ...]
    tiers: tuple[str, ...] = ()

    def with_tiers(self, tiers: tuple[Segment, ...]) -> "Names":
        """These tiers are known, too."""
        return self._replace(tiers=tuple(tier.id for tier in tiers))

    def options(self, feature: Feature) -> tuple[str, ...] | None:
        """What a text feature can be; None: anything."""
        if feature.options == "stages":
            return STAGES[NEW:]
        if feature.options == "channels":
            return self.channels
        return self.tiers if feature.options == "tiers" else None


def read_tiers(form: Form, node: Node | None, names: Names) -> tuple[Segment, ...]:
    """The tiers, best first; none of them by `tier` itself."""
    known = {key: feature for key, feature in FEATURES.items() if key != "tier"}
    return _read(form, node, "tiers", most=MAX_TIERS, known=known, names=names)


def read_segments(form: Form, node: Node | None, names: Names) -> tuple[Segment, ...]:
    """The segments as written."""
    return _read(form, node, "segments", most=MAX_SEGMENTS, known=FEATURES, names=names)


def shortest(groups: tuple[Segment, ...]) -> int:
    """The shortest silence (ms) after which a membership can change by it, but for what goes by dates; `FAR`: never."""
    scores = [HOUR for test in tests(groups) if test.feature.pace == "score"]
    return min([FAR, *scores, *limits(groups, "silence")])


def limits(groups: tuple[Segment, ...], pace: Pace) -> tuple[int, ...]:
    """With what features of this pace are compared."""
    found = [(test.at_least, test.below) for test in tests(groups) if test.feature.pace == pace]
    return tuple(int(limit) for pair in found for limit in pair if limit is not None)


def tests(groups: tuple[Segment, ...]) -> list[Test]:
    """All comparisons of them."""
    return [test for group in groups for test in group.where]


def _read(
    form: Form, node: Node | None, field: str, *, most: int, known: Mapping[str, Feature], names: Names
) -> tuple[Segment, ...]:
    found: dict[str, Segment] = {}
    title = f"a {field.removesuffix('s')}"
    for item in form.items(node, field, most):
        section = Section(form, item, title, ("id", "where"))
        identity = section.need("id", name, "")
        section.need("where", present("comparisons of features, such as {orders_90d: {at_least: 3}}"), None)
        where = section.section("where", known)
        given = tuple(_test(where, feature, names) for key, feature in known.items() if key in where)
        if section.sound and not given:
            section.problem("where", f"{title} needs a comparison, such as `where: {{orders_90d: {{at_least: 3}}}}`")
        if identity in found:
            section.problem("id", f"the id '{identity}' is given twice under {field}")
        elif identity:
            found[identity] = Segment(identity, given, reduce(or_, (test.feature.moved_by for test in given), NEWS))
    return tuple(found.values())


def _test(where: Section, feature: Feature, names: Names) -> Test:
    if feature.unit == "flag":
        flag = where.get(feature.name, _flag, True)
        return Test(feature, among=(flag,))
    if feature.unit == "text":
        among: tuple[str, ...] = where.get(feature.name, texts, _NOTHING)
        options = names.options(feature)
        for value in among if options is not None else ():
            _check(value, options or (), where, feature.name)
        return Test(feature, among=among)
    if not isinstance(where.node(feature.name), Fields):
        example = f"{{at_least: {_EXAMPLES[feature.unit]}}}"
        found = show(where.node(feature.name) or Scalar(0, ""))
        where.problem(feature.name, f"{feature.name}: expected a comparison such as {example}, not {found}")
        return Test(feature)
    section = where.section(feature.name, _COMPARISONS)
    kind = _number(feature, names.currency)
    test = Test(
        feature,
        section.get("at_least", kind, None),
        section.get("below", kind, None),
        section.get("top", share(zero=False), None),
    )
    if section.sound and test == Test(feature):
        section.problem("at_least", f"{feature.name}: expected one of {', '.join(_COMPARISONS)}")
    if section.sound and test.top is not None and (test.at_least is not None or test.below is not None):
        section.problem("top", f"{feature.name}: top is a threshold itself, at_least and below can't go with it")
    if section.sound and test.top is not None and feature.unit == "days":
        section.problem("top", f"{feature.name}: it grows by itself for everybody, a threshold would be old at once")
    if section.sound and test.at_least is not None and test.below is not None and test.at_least >= test.below:
        section.problem("below", f"{feature.name}: nothing is at least the one and below the other")
    return test


def _check(value: str, options: tuple[str, ...], where: Section, field: str) -> None:
    if value not in options:
        near = get_close_matches(value[:64], options, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(options) or 'none'}"
        where.problem(field, f"{field}: there is no '{value[:64]}'; {hint}")


def _number(feature: Feature, currency: str) -> Kind[Any]:
    if feature.unit == "count":
        return integer(1, 1_000_000_000)
    if feature.unit == "share":
        return share(zero=False)
    if feature.unit == "days":
        return _days

    def amount(node: Node) -> int:
        try:
            return minor_units(Decimal(decimal(node)), currency)
        except MoneyError as error:
            raise Mistyped(f"an amount in {currency} ({error})") from None

    return amount


def _days(node: Node) -> int:
    try:
        value = decimal(node)
    except Mistyped:
        value = Decimal(0)
    span = int(value * DAY)
    if not HOUR <= span <= FAR:
        raise Mistyped("a number of days from an hour (0.05) on, such as 7 or 1.5")
    return span


def _flag(node: Node) -> bool:
    if isinstance(node, Items | Fields) or node.quoted or node.text not in _FLAGS:
        raise Mistyped("true or false")
    return _FLAGS[node.text]
