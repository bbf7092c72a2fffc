"""From a policy's text to a compiled policy, with every problem named at once."""

from decimal import Decimal
from functools import reduce
from hashlib import sha256
from operator import or_
from typing import Any, Final, cast

import msgspec
from msgspec import structs

from pipeline.features.base import NEWS
from pipeline.lifecycle import Lifecycle
from pipeline.money import EXPONENTS, Currency
from pipeline.policy.channels import GROUPING, ChannelRule, pattern
from pipeline.policy.compiled import (
    DEFAULT,
    Activation,
    Mode,
    NotActivated,
    Policy,
    SourceGuard,
)
from pipeline.policy.contact import read_contact
from pipeline.policy.form import (
    Form,
    Kind,
    Mistyped,
    Section,
    choice,
    decimal,
    duration,
    integer,
    name,
    positive,
    share,
    show,
    spell,
    text,
    texts,
)
from pipeline.policy.groups import Names, limits, read_segments, read_tiers, shortest, tests
from pipeline.policy.rules import read_rules, shortest_silence
from pipeline.policy.yaml_lines import Node, Scalar, YamlLineError, read
from pipeline.risk import MODELS, RiskModel
from pipeline.units import DAY
from pipeline.value import ValueModel

MAX_CHANNELS: Final = 256
"""Names become rows of sums and labels of metrics, so their number is bounded."""


class PolicyError(ValueError):
    """A policy that can't be used; `problems` are all of them, one line each: "policy.yaml:12: unknown field ..."."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems: Final = problems


def parse(text: str | bytes, name: str = "policy.yaml") -> Policy:
    """Read, check and compile a policy. Raises PolicyError with all problems; `name` stands before their lines."""
    form = Form(name)
    try:
        raw = text.encode() if isinstance(text, str) else text
        root = read(raw.decode())
    except UnicodeError:
        raise PolicyError([f"{name}:1: not UTF-8 text"]) from None
    except YamlLineError as error:
        raise PolicyError([f"{name}:{error.line}: {error}"]) from None
    if root is None or (isinstance(root, Scalar) and root.empty):
        raise PolicyError([f"{name}:1: the policy is empty; it needs at least `version: 1`"])
    policy = _compile(form, root, sha256(raw).hexdigest())
    if form.count:
        raise PolicyError(form.problems)
    return policy


_FIELDS: Final = (
    *("version", "mode", "salt", "time", "lifecycle", "activation", "orders", "currency", "risk", "channels"),
    *("source_guard", "consent", "caps", "quiet_hours", "holdout", "perks", "value", "tiers", "segments", "rules"),
)
_ANY: Final[tuple[str, ...]] = ("*",)
_CONDITIONS: Final = ("source", "medium", "campaign", "referrer")
_MODE: Final[Kind[Mode]] = choice(("shadow", "live"))


def _compile(form: Form, root: Node, digest: str) -> Policy:
    top = Section(form, root, "the policy", _FIELDS)
    mode = top.get("mode", _MODE, DEFAULT.mode)
    time = top.section("time", ("lateness", "skew"))
    guard = top.section("source_guard", SourceGuard.__struct_fields__)
    lifecycle = _lifecycle(top.section("lifecycle", Lifecycle.__struct_fields__))
    currency = _currency(form, top.section("currency", Currency.__struct_fields__))
    contact = read_contact(form, top, currency.reporting)
    channels = _channels(form, top.node("channels"))
    names = Names(currency.reporting, tuple(dict.fromkeys((*(rule.name for rule in channels), *GROUPING))))
    tiers = read_tiers(form, top.node("tiers"), names)
    segments = read_segments(form, top.node("segments"), names.with_tiers(tiers))
    groups = (*tiers, *segments)
    rules = read_rules(form, top.node("rules"), mode, contact, tuple(segment.id for segment in segments))
    activation = _activation(top)
    if activation is None and any(isinstance(rule.when, NotActivated) for rule in rules):
        top.problem("rules", "not_activated needs the key moment: `activation: {event: ..., within: ...}`")
    return Policy(
        version=top.need("version", choice((1,)), 1),
        salt=top.get("salt", text, DEFAULT.salt),
        mode=mode,
        lateness=time.get("lateness", duration(0, 7 * DAY), DEFAULT.lateness),
        skew=time.get("skew", duration(0, 7 * DAY), DEFAULT.skew),
        lifecycle=lifecycle,
        activation=activation,
        orders=frozenset(top.get("orders", texts, tuple(DEFAULT.orders))),
        currency=currency,
        risk=_risk(top),
        channels=channels,
        guard=SourceGuard(
            guard.get("min_expected", integer(1, 1_000_000_000), DEFAULT.guard.min_expected),
            guard.get("dark_below", share(zero=True), DEFAULT.guard.dark_below),
        ),
        consent=contact.consent,
        caps=contact.caps,
        channel_caps=contact.channel_caps,
        quiet_hours=contact.quiet_hours,
        holdout=top.get("holdout", share(zero=True), DEFAULT.holdout),
        perks=contact.perks,
        value=_value(top),
        tiers=tiers,
        segments=segments,
        rules=rules,
        hash=digest,
        min_silence=min(lifecycle.at_risk, lifecycle.dormant, shortest(groups), *map(shortest_silence, rules)),
        spreads=any(rule.backlog is not None for rule in rules),
        reminders=tuple(rule.when.after for rule in rules if isinstance(rule.when, NotActivated)),
        grouped=bool(groups),
        moved_by=reduce(or_, (group.moved_by for group in groups), NEWS),
        tiers_moved_by=reduce(or_, (tier.moved_by for tier in tiers), NEWS),
        ages=limits(groups, "age"),
        windows=tuple(test for test in tests(groups) if test.feature.pace == "window"),
    )


def _lifecycle(section: Section) -> Lifecycle:
    spans = {
        field: section.get(field, duration(), getattr(DEFAULT.lifecycle, field))
        for field in Lifecycle.__struct_fields__
    }
    found = Lifecycle(**spans)
    if section.sound and found.at_risk >= found.dormant:
        section.problem(
            "at_risk",
            f"at_risk ({spell(found.at_risk)}) must be shorter than dormant ({spell(found.dormant)}): "
            "a silent user is at risk first",
        )
    return found


def _activation(top: Section) -> Activation | None:
    if "activation" not in top:
        return None
    section = top.section("activation", Activation.__struct_fields__)
    return Activation(section.need("event", text, ""), section.need("within", duration(), DAY))


def _currency(form: Form, section: Section) -> Currency:
    reporting = section.get("reporting", _currency_code, DEFAULT.currency.reporting)
    rates: dict[str, Decimal] = {}
    for key, value in form.pairs(section.node("rates"), "rates"):
        if key.text not in EXPONENTS:
            form.problem(key.line, f"rates: unknown currency {show(key)}; expected an ISO 4217 code such as EUR")
        elif key.text == reporting:
            form.problem(key.line, f"rates: {reporting} is the reporting currency itself and has no rate")
        else:
            rates[key.text] = form.value(key, value, decimal, Decimal(1))
    return Currency(reporting, rates)


def _currency_code(node: Node) -> str:
    if not isinstance(node, Scalar) or node.text not in EXPONENTS:
        raise Mistyped("an ISO 4217 code such as USD")
    return node.text


def _risk(top: Section) -> RiskModel:
    parameters = {model: structs.fields(cast("type[msgspec.Struct]", made)) for model, made in MODELS.items()}
    every = dict.fromkeys(field.name for fields in parameters.values() for field in fields)
    section = top.section("risk", ("model", *every))
    model = section.get("model", choice(MODELS), next(iter(MODELS)))
    mine: dict[str, Kind[Any]] = {f.name: duration() if f.type is int else positive for f in parameters[model]}
    for field in every:
        if field in section and field not in mine:
            section.problem(field, f"{field} is no parameter of the model {model}; it has {', '.join(mine)}")
    if not any(field in section for field in mine):
        return MODELS[model]()
    # The parameters of a fit belong together: one of another fit among them would be a number without a meaning.
    return MODELS[model](**{field: section.need(field, kind, 1) for field, kind in mine.items()})


def _value(top: Section) -> ValueModel:
    section = top.section("value", ValueModel.__struct_fields__)
    horizon = section.get("horizon", duration(DAY), DEFAULT.value.horizon)
    fitted = tuple(field for field in ValueModel.__struct_fields__ if field != "horizon")
    if not any(field in section for field in fitted):
        return ValueModel(horizon=horizon)
    # As for the risk: the parameters of a fit belong together.
    found = {field: section.need(field, positive, getattr(DEFAULT.value, field)) for field in fitted}
    try:
        return ValueModel(**found, horizon=horizon)
    except ValueError as error:
        section.problem("q", f"value: {error}")
        return DEFAULT.value


def _channels(form: Form, node: Node | None) -> tuple[ChannelRule, ...]:
    found = []
    for item in form.items(node, "channels", MAX_CHANNELS):
        section = Section(form, item, "a channel", ("name", *_CONDITIONS))
        globs = {field: section.get(field, texts, _ANY) for field in _CONDITIONS if field in section}
        channel = section.need("name", name, "-")
        if section.sound and not globs:
            section.problem("name", f"a channel needs a condition: {', '.join(_CONDITIONS)}")
        if any("/" in glob for glob in globs.get("referrer", ())):
            section.problem(
                "referrer", 'referrer: expected a host such as blog.example.org or "*.example.org", no address'
            )
        found.append(ChannelRule(channel, **{field: pattern(values) for field, values in globs.items()}))
    return tuple(found)
