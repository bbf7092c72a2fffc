"""What differs between two policies, by what they mean: a default that is written out is no change, nor a comment."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import structs

from pipeline.features.base import Unit
from pipeline.money import amount
from pipeline.policy import Policy, Rule
from pipeline.policy.channels import globs_of
from pipeline.policy.compiled import Test
from pipeline.policy.form import spell
from pipeline.units import DAY

ABSENT: Final = "none"
# Fields whose int is a span of time in ms.
_SPANS: Final = frozenset(
    (
        *("after", "at_risk", "cooldown", "dormant", "expires_after", "horizon", "lateness", "min_silence"),
        *("new_for", "returned_for", "skew", "spread", "unit", "within"),
    )
)
# Fields that the policy's text calls otherwise.
_WRITTEN: Final = {
    "guard": "source_guard",
    "lateness": "time.lateness",
    "skew": "time.skew",
    "channel_caps": "caps.channels",
    "start": "from",
    "end": "to",
    "backlog": "backlog.spread",
}
# The field of a condition that its name in the policy stands for: `silence: 30d` is Silence(after=...).
_MAIN: Final = frozenset({"after", "threshold", "segment"})
_CLOCK: Final = frozenset({"from", "to"})  # minutes of the day
_MONEY: Final = frozenset({"cost", "budget"})  # int minor units
# Fields that follow from others: a policy's stand behind its rules, its mode is that of its rules.
_STATED: Final = Policy.__struct_fields__[: Policy.__struct_fields__.index("rules")]
_DERIVED: Final = frozenset({"mode", "version", "moved_by"})
_NOTES: Final = {
    "salt": "every arm is drawn anew",
    "holdout": "a new stratum: figures of before and after are not to be added up",
    "time.lateness": "the clock moves; no hour that has closed opens again",
}


class FieldChange(msgspec.Struct):
    """`where`: "the policy", a rule such as "rule fading", or another part; `name`: the field as the policy's text
    calls it, dotted within it.
    `note`: what follows from it, where that is not plain.
    """

    where: str
    name: str
    before: str
    after: str
    note: str = ""


class _Currencies(NamedTuple):
    """What amounts are in, before and after."""

    old: str
    new: str


def changes(old: Policy, new: Policy) -> list[FieldChange]:
    """Every field that means something else, the policy's own first, then rule by rule in the order of the new one."""
    found: list[FieldChange] = []
    of = _Currencies(old.currency.reporting, new.currency.reporting)
    for field in _STATED:
        if field not in _DERIVED:
            found.extend(
                FieldChange("the policy", name, before, after, _NOTES.get(name, ""))
                for name, before, after in _differences(_written(field), getattr(old, field), getattr(new, field), of)
            )
    found.extend(_rules(old.rules, new.rules, of))
    return found


def _rules(old: Sequence[Rule], new: Sequence[Rule], of: _Currencies) -> Iterator[FieldChange]:
    before, after = ({rule.id: rule for rule in rules} for rules in (old, new))
    for rule in new:
        where = f"rule {rule.id}"
        known = before.get(rule.id)
        if known is None:
            note = "it sends" if rule.mode == "live" else "in shadow: it sends nothing"
            yield FieldChange(where, "", ABSENT, _words("", rule, of.new), note)
            continue
        for field in Rule.__struct_fields__:
            if field != "version":
                before_it, after_it = getattr(known, field), getattr(rule, field)
                for name, was, becomes in _differences(_written(field), before_it, after_it, of):
                    yield FieldChange(where, name, was, becomes, _note(name, becomes))
    for rule in old:
        if rule.id not in after:
            note = "open goal windows are still measured"
            yield FieldChange(f"rule {rule.id}", "", _words("", rule, of.old), ABSENT, note)
    kept_old, kept_new = ([r.id for r in rules if r.id in before and r.id in after] for rules in (old, new))
    if kept_old != kept_new:
        note = "of equal deadlines the first is decided first"
        yield FieldChange("the policy", "order of rules", ", ".join(kept_old), ", ".join(kept_new), note)


def _note(name: str, becomes: str) -> str:
    if name == "mode":
        return "it begins to send" if becomes == "live" else "it sends no more"
    return _NOTES.get(name, "")


def _differences(name: str, old: Any, new: Any, of: _Currencies) -> Iterator[tuple[str, str, str]]:
    """(field, before, after) of everything below `name` that differs."""
    if old == new:
        return
    if isinstance(old, msgspec.Struct) and type(old) is type(new):
        for field in old.__struct_fields__:
            if field in _DERIVED:
                continue
            was, becomes = getattr(old, field), getattr(new, field)
            if was != becomes and field in _MAIN and _tag(old):
                yield f"{name}.{_tag(old)}", _words(field, was, of.old), _words(field, becomes, of.new)
            else:
                yield from _differences(f"{name}.{_written(field)}", was, becomes, of)
        return
    if isinstance(old, tuple) and isinstance(new, tuple) and not any(isinstance(item, Test) for item in (*old, *new)):
        old, new = _by_name(old), _by_name(new)
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys((*old, *new)):
            yield from _differences(f"{name}.{key}", old.get(key), new.get(key), of)
        if old.keys() == new.keys() and list(old) != list(new):
            yield f"order of {name}", ", ".join(map(str, old)), ", ".join(map(str, new))
        return
    yield name, _words(name, old, of.old), _words(name, new, of.new)


def _by_name(items: Sequence[Any]) -> dict[str, Any]:
    """Items of a list by what they are called, else by their place."""
    return {
        str(getattr(item, "id", None) or getattr(item, "name", None) or number): item
        for number, item in enumerate(items, start=1)
    }


def _words(name: str, value: Any, currency: str) -> str:
    if value is None or value == ():
        return ABSENT
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return _number(name.rpartition(".")[2], value, currency)
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, re.Pattern):
        globs = globs_of(value)
        return globs[0] if len(globs) == 1 else f"[{', '.join(globs)}]"
    if isinstance(value, Test):
        return _test(value, currency)
    if isinstance(value, msgspec.Struct):
        told = {
            field.name: getattr(value, field.name)
            for field in structs.fields(value)
            if field.name not in _DERIVED - {"mode"} and getattr(value, field.name) != field.default
        }
        named = {field: (_tag(value) if field in _MAIN and _tag(value) else _written(field)) for field in told}
        return ", ".join(f"{named[field]} {_words(_written(field), found, currency)}" for field, found in told.items())
    if isinstance(value, Mapping):
        return ", ".join(f"{key} ({_words('', found, currency)})" for key, found in value.items()) or ABSENT
    if isinstance(value, (frozenset, tuple)):
        found = [_words("", item, currency) for item in value]
        return ", ".join(sorted(found) if isinstance(value, frozenset) else found)
    return str(value)


def _written(field: str) -> str:
    return _WRITTEN.get(field, field)


def _number(field: str, value: int, currency: str) -> str:
    if field in _SPANS:
        return spell(value)
    if field in _CLOCK:
        return f"{value // 60:02}:{value % 60:02}"
    return amount(value, currency) if field in _MONEY else str(value)


def _test(test: Test, currency: str) -> str:
    """A comparison as it is written: silence_days at least 35."""
    parts = [test.feature.name]
    for words, limit in (("at least", test.at_least), ("below", test.below)):
        if limit is not None:
            parts.append(f"{words} {_limit(limit, test.feature.unit, currency)}")
    if test.top is not None:
        parts.append(f"top {test.top:g}")
    return " ".join([*parts, " or ".join(_words("", one, currency) for one in test.among)]).rstrip()


def _limit(limit: float, unit: Unit, currency: str) -> str:
    if unit == "money":
        return amount(int(limit), currency)
    return f"{limit / DAY if unit == 'days' else limit:g}"


def _tag(value: msgspec.Struct) -> str:
    tag = value.__struct_config__.tag
    return tag if isinstance(tag, str) else ""
