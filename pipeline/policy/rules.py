"""Reading the rules: when, whom, by which channel, and how it is measured."""

from difflib import get_close_matches
from hashlib import sha256
from typing import Any, Final

import msgspec
from msgspec import structs

from pipeline.policy.compiled import (
    Condition,
    Content,
    Goal,
    InSegment,
    Kind,
    Mode,
    NotActivated,
    PAliveBelow,
    RiskAbove,
    Rule,
    Silence,
    Step,
)
from pipeline.policy.contact import ContactPolicy
from pipeline.policy.form import Form, Section, choice, duration, integer, name, present, share, spell, text
from pipeline.policy.form import Kind as Reads
from pipeline.policy.yaml_lines import Node
from pipeline.units import DAY, HOUR

MAX_RULES: Final = 64
MAX_STEPS: Final = 3
MAX_SHOWN_ITEMS: Final = 3
_FIELDS: Final = tuple(field for field in Rule.__struct_fields__ if field != "version")
_MODE: Final[Reads[Mode]] = choice(("shadow", "live"))
_KIND: Final[Reads[Kind]] = choice(("recall", "activate", "grow"))
_SCORED: Final = ("min_silence", "min_active_days")
_CONDITIONS: Final = {
    "silence": "30d",
    "p_alive_below": "0.3",
    "risk_above": "0.7",
    "not_activated": "3d",
    "segment": "big-spenders",
}
_ALLOWED: Final[dict[Kind, tuple[str, ...]]] = {
    "recall": ("silence", "p_alive_below", "risk_above", "segment"),
    "activate": ("not_activated", "segment"),
    "grow": ("segment",),
}


def shortest_silence(rule: Rule) -> int:
    """The shortest silence (ms) after which it can fall due; 0 if it goes by something else."""
    when = rule.when
    if isinstance(when, Silence):
        return when.after
    return when.min_silence if isinstance(when, PAliveBelow | RiskAbove) else LONG


LONG: Final = 36_525 * DAY


def read_rules(
    form: Form, node: Node | None, mode: Mode, contact: ContactPolicy, segments: tuple[str, ...]
) -> tuple[Rule, ...]:
    """The rules in the order in which equal deadlines are decided: by priority, the highest first, then as written."""
    before = form.count
    found: dict[str, tuple[Rule, Section]] = {}
    for item in form.items(node, "rules", MAX_RULES):
        section = Section(form, item, "a rule", _FIELDS)
        rule = _rule(form, section, mode, contact)
        if section.sound and isinstance(rule.when, InSegment) and rule.when.segment not in segments:
            near = get_close_matches(rule.when.segment, segments, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(segments) or 'none'}"
            section.problem("when", f"there is no segment '{rule.when.segment}' under `segments`; {hint}")
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
    return tuple(sorted(rules, key=lambda rule: -rule.priority))


def _rule(form: Form, section: Section, mode: Mode, contact: ContactPolicy) -> Rule:
    identity = section.need("id", name, "")
    goal = Goal(None, 14 * DAY)
    if "goal" in section:
        fields = section.section("goal", Goal.__struct_fields__)
        goal = Goal(fields.get("event", text, None), fields.need("within", duration(), DAY))
    kind: Kind = section.get("kind", _KIND, "recall")
    first = _step(section, contact, Step(0, "email", None, identity, None))
    rule = Rule(
        id=identity,
        when=_when(section, kind),
        kind=kind,
        mode=section.get("mode", _MODE, mode),
        channel=first.channel,
        fallback=first.fallback,
        template=first.template,
        content=_content(section),
        perk=first.perk,
        steps=_steps(form, section, contact, first, goal),
        priority=section.get("priority", integer(-1000, 1000), 0),
        holdout=section.get("holdout", share(zero=True), 0.1),
        # Up to two hours pass until a deadline's hour has closed: within them nothing may be stale.
        expires_after=section.get("expires_after", duration(least=3 * HOUR), 3 * DAY),
        cooldown=section.get("cooldown", duration(), 30 * DAY),
        ceiling=section.get("ceiling", integer(1, 1_000_000_000), None),
        backlog=_backlog(section),
        goal=goal,
        version="",
    )
    return structs.replace(rule, version=sha256(msgspec.json.encode(rule, order="sorted")).hexdigest()[:12])


def _step(section: Section, contact: ContactPolicy, default: Step) -> Step:
    """The fields that every message of a contact has. A channel needs a stated consent, a perk a stated budget."""
    channel = section.get("channel", name, default.channel)
    fallback = section.get("fallback", name, default.fallback if default.fallback != channel else None)
    perk = section.get("perk", name, None)
    for field, used in (("channel", channel), ("fallback", fallback)):
        if used is not None and used not in contact.consent:
            section.problem(
                field,
                f"the channel {used} has no consent; say on what basis it is used: "
                f"`consent: {{{used}: {{basis: opt_in, trait: {used}}}}}` (or opt_out)",
            )
    if fallback == channel:
        section.problem("fallback", f"the fallback is the channel itself ({channel})")
    if perk is not None and perk not in contact.perks:
        known = ", ".join(contact.perks) or "none"
        section.problem("perk", f"there is no perk '{perk}' under `perks`; there are: {known}")
    return Step(
        section.get("after", duration(), 0), channel, fallback, section.get("template", text, default.template), perk
    )


def _steps(form: Form, section: Section, contact: ContactPolicy, first: Step, goal: Goal) -> tuple[Step, ...]:
    found = []
    for item in form.items(section.node("steps"), "steps", MAX_STEPS):
        fields = Section(form, item, "a step", Step.__struct_fields__)
        fields.need("after", duration(), DAY)
        found.append(_step(fields, contact, first))
    total = sum(step.after for step in found)
    if found and section.sound and total >= goal.within:
        section.problem(
            "steps",
            f"the steps take {spell(total)}, the goal window is over after {spell(goal.within)}: nothing "
            "that is sent later could have worked",
        )
    return tuple(found)


def _content(section: Section) -> Content | None:
    if "content" not in section:
        return None
    fields = section.section("content", Content.__struct_fields__)
    return Content(fields.get("feature_id", text, None), fields.get("items", integer(0, MAX_SHOWN_ITEMS), 0))


def _backlog(section: Section) -> int | None:
    if "backlog" not in section:
        return None
    return section.section("backlog", ("spread",)).need("spread", duration(), DAY)


def _when(section: Section, kind: Kind) -> Condition:
    if section.need("when", present("{silence: 30d} or {p_alive_below: 0.3}"), None) is None:
        return Silence(DAY)
    when = section.section("when", (*_CONDITIONS, *_SCORED))
    given = [field for field in _CONDITIONS if field in when]
    if when.sound and len(given) != 1:
        said = ", ".join(f"{field} ({example})" for field, example in _CONDITIONS.items())
        when.problem(given[-1] if given else "silence", f"when: expected one of {said}")
    chosen = given[0] if given else "silence"
    if when.sound and chosen not in _ALLOWED[kind]:
        when.problem(chosen, f"a rule of kind {kind} goes by {' or '.join(_ALLOWED[kind])}, not by {chosen}")
    scored = chosen in {"p_alive_below", "risk_above"}
    if not scored:
        for field in _SCORED:
            if field in when:
                when.problem(field, f"{field} goes with p_alive_below and risk_above; here it says nothing")
    if chosen == "silence":
        return Silence(when.get("silence", duration(), DAY))
    if chosen == "not_activated":
        return NotActivated(when.get("not_activated", duration(), DAY))
    if chosen == "segment":
        return InSegment(when.get("segment", name, "-"))
    fields: dict[str, Any] = {
        "threshold": when.get(chosen, share(zero=False), 0.5),
        "min_silence": when.get("min_silence", duration(), 7 * DAY),
        "min_active_days": when.get("min_active_days", integer(1, 1000), 2),
    }
    return PAliveBelow(**fields) if chosen == "p_alive_below" else RiskAbove(**fields)
