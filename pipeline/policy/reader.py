"""From a policy's text to a compiled policy, with every problem named at once."""

from decimal import Decimal
from hashlib import sha256
from typing import Any, Final, cast

import msgspec
from msgspec import structs

from pipeline.money import EXPONENTS, Currency
from pipeline.policy.channels import ChannelRule, pattern
from pipeline.policy.compiled import (
    DEFAULT,
    Activation,
    Goal,
    Lifecycle,
    Mode,
    PAliveBelow,
    Policy,
    Rule,
    Silence,
    SourceGuard,
)
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
    present,
    share,
    show,
    spell,
    text,
    texts,
)
from pipeline.policy.yaml_lines import Node, Scalar, YamlLineError, read
from pipeline.risk import MODELS, RiskModel
from pipeline.units import DAY, HOUR

MAX_RULES: Final = 64
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
    *("source_guard", "rules"),
)
_ANY: Final[tuple[str, ...]] = ("*",)
_CONDITIONS: Final = ("source", "medium", "campaign", "referrer")
_RULE_FIELDS: Final = tuple(field for field in Rule.__struct_fields__ if field != "version")
_RISK_CONDITION: Final = ("p_alive_below", "min_silence", "min_active_days")
_MODE: Final[Kind[Mode]] = choice(("shadow", "live"))


def _compile(form: Form, root: Node, digest: str) -> Policy:
    top = Section(form, root, "the policy", _FIELDS)
    mode = top.get("mode", _MODE, DEFAULT.mode)
    time = top.section("time", ("lateness", "skew"))
    guard = top.section("source_guard", SourceGuard.__struct_fields__)
    lifecycle = _lifecycle(top.section("lifecycle", Lifecycle.__struct_fields__))
    rules = _rules(form, top.node("rules"), mode)
    silences = [rule.when.after if isinstance(rule.when, Silence) else rule.when.min_silence for rule in rules]
    return Policy(
        version=top.need("version", choice((1,)), 1),
        salt=top.get("salt", text, DEFAULT.salt),
        mode=mode,
        lateness=time.get("lateness", duration(0, 7 * DAY), DEFAULT.lateness),
        skew=time.get("skew", duration(0, 7 * DAY), DEFAULT.skew),
        lifecycle=lifecycle,
        activation=_activation(top),
        orders=frozenset(top.get("orders", texts, tuple(DEFAULT.orders))),
        currency=_currency(form, top.section("currency", Currency.__struct_fields__)),
        risk=_risk(top),
        channels=_channels(form, top.node("channels")),
        guard=SourceGuard(
            guard.get("min_expected", integer(1, 1_000_000_000), DEFAULT.guard.min_expected),
            guard.get("dark_below", share(zero=True), DEFAULT.guard.dark_below),
        ),
        rules=rules,
        hash=digest,
        min_silence=min(lifecycle.at_risk, lifecycle.dormant, *silences),
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


def _rules(form: Form, node: Node | None, mode: Mode) -> tuple[Rule, ...]:
    before = form.count
    found: dict[str, tuple[Rule, Section]] = {}
    for item in form.items(node, "rules", MAX_RULES):
        section = Section(form, item, "a rule", _RULE_FIELDS)
        rule = _rule(section, mode)
        if rule.id in found:
            section.problem("id", f"the rule id '{rule.id}' is given twice; decisions could not be told apart")
        elif rule.id:
            found[rule.id] = (rule, section)
    rules = tuple(rule for rule, _ in found.values())
    if rules and form.count == before:
        longest = max(rules, key=lambda rule: rule.goal.within)
        for rule, section in found.values():
            if rule.cooldown < longest.goal.within:
                section.problem(
                    "cooldown",
                    f"cooldown ({spell(rule.cooldown)}) of rule '{rule.id}' must be at least the longest goal window "
                    f"({spell(longest.goal.within)}, rule '{longest.id}'): a user contacted again within it "
                    "would count for two rules at once",
                )
    return rules


def _rule(section: Section, mode: Mode) -> Rule:
    identity = section.need("id", name, "")
    goal = Goal(None, 14 * DAY)
    if "goal" in section:
        fields = section.section("goal", Goal.__struct_fields__)
        goal = Goal(fields.get("event", text, None), fields.need("within", duration(), DAY))
    rule = Rule(
        id=identity,
        when=_when(section),
        mode=section.get("mode", _MODE, mode),
        channel=section.get("channel", name, "email"),
        template=section.get("template", text, identity),
        priority=section.get("priority", integer(-1000, 1000), 0),
        holdout=section.get("holdout", share(zero=True), 0.1),
        # Up to two hours pass until a deadline's hour has closed: within them nothing may be stale.
        expires_after=section.get("expires_after", duration(least=3 * HOUR), 3 * DAY),
        cooldown=section.get("cooldown", duration(), 30 * DAY),
        goal=goal,
    )
    return structs.replace(rule, version=sha256(msgspec.json.encode(rule, order="sorted")).hexdigest()[:12])


def _when(section: Section) -> Silence | PAliveBelow:
    if section.need("when", present("{silence: 30d} or {p_alive_below: 0.3}"), None) is None:
        return Silence(DAY)
    when = section.section("when", ("silence", *_RISK_CONDITION))
    by_risk = "p_alive_below" in when
    if when.sound and by_risk == ("silence" in when):
        when.problem("silence", "when: expected one of silence (30d) and p_alive_below (0.3)")
    if not by_risk:
        for field in _RISK_CONDITION[1:]:
            if field in when:
                when.problem(field, f"{field} goes with p_alive_below; by silence alone it says nothing")
        return Silence(when.get("silence", duration(), DAY))
    return PAliveBelow(
        when.get("p_alive_below", share(zero=False), 0.5),
        when.get("min_silence", duration(), 7 * DAY),
        when.get("min_active_days", integer(1, 1000), 2),
    )
