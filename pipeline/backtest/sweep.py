"""One field of a policy at several values: its text with that field set, so that each is a policy one can publish."""

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from io import StringIO
from typing import Any, Final, NamedTuple

from msgspec import structs
from ruamel.yaml import YAML

from pipeline.policy import PolicyError, parse
from pipeline.policy.form import LONGEST
from pipeline.units import HOUR


class Swept(NamedTuple):
    """A value of the field, and the policy's text with it."""

    value: str
    body: bytes


class _Field(NamedTuple):
    """Where a field lies in a rule: `path`; `given`: the conditions of which a rule must have one (none: any rule)."""

    path: tuple[str, ...]
    given: tuple[str, ...]
    read: Callable[[str], Any]


def _days(text: str) -> str:
    """Days as a duration; half a day is 12h. Raises ValueError."""
    hours = float(text) * 24
    if not (0 < hours <= LONGEST / HOUR and hours.is_integer()):
        raise ValueError
    return f"{int(hours) // 24}d" if hours % 24 == 0 else f"{int(hours)}h"


_BY_RISK: Final = ("p_alive_below", "risk_above")

FIELDS: Final[dict[str, _Field]] = {
    "silence_days": _Field(("when", "silence"), ("silence",), _days),
    "p_alive_below": _Field(("when", "p_alive_below"), ("p_alive_below",), float),
    "risk_above": _Field(("when", "risk_above"), ("risk_above",), float),
    "not_activated_days": _Field(("when", "not_activated"), ("not_activated",), _days),
    "min_silence_days": _Field(("when", "min_silence"), _BY_RISK, _days),
    "min_active_days": _Field(("when", "min_active_days"), _BY_RISK, int),
    "holdout": _Field(("holdout",), (), float),
    "cooldown_days": _Field(("cooldown",), (), _days),
    "expires_after_days": _Field(("expires_after",), (), _days),
    "goal_days": _Field(("goal", "within"), (), _days),
    "priority": _Field(("priority",), (), int),
}
"""What can be swept, and where it lies in a rule."""


def sweep_texts(body: bytes, name: str, values: Sequence[str]) -> list[Swept]:
    """The policy once for each value. `name`: one of `FIELDS`, for every rule that has it, or RULE.FIELD for one.

    Raises:
        ValueError: no such field or rule, a value that is none, or a policy that can't be used with it.
    """
    rule, _, plain = name.rpartition(".")
    field = FIELDS.get(plain)
    if field is None:
        near = get_close_matches(plain, FIELDS, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(FIELDS)}"
        raise ValueError(f"no field '{plain}' to sweep; {hint}")
    return [Swept(value, _set(body, rule, plain, field, value)) for value in values]


def _set(body: bytes, only: str, name: str, field: _Field, value: str) -> bytes:
    try:
        wanted = field.read(value)
    except ValueError:
        kind = "a number of days" if field.read is _days else "a number"
        raise ValueError(f"{name}: expected {kind}, not '{value}'") from None
    tree = _tree(body)
    touched = 0
    for rule in tree.get("rules") or ():
        if only not in {"", rule["id"]} or (field.given and not any(name in rule["when"] for name in field.given)):
            continue
        place = rule
        for step in field.path[:-1]:
            if not place.get(step):
                place[step] = {}
            place = place[step]
        place[field.path[-1]] = wanted
        touched += 1
    if not touched:
        which = f"the rule '{only}'" if only else "any rule"
        raise ValueError(f"{name} is nothing that {which} of this policy has")
    text = _text(tree)
    try:
        parse(text, name=f"{name}={value}")
    except PolicyError as error:
        raise ValueError(str(error)) from error
    return text


def made_live(body: bytes) -> bytes:
    """The policy with every rule `live`. Raises ValueError."""
    tree = _tree(body)
    tree["mode"] = "live"
    for rule in tree.get("rules") or ():
        rule.pop("mode", None)
    return _text(tree)


def _yaml() -> YAML:
    yaml = YAML(typ="rt", pure=True)
    yaml.preserve_quotes = True
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 10_000  # a folded line would be another text
    return yaml


def _tree(body: bytes) -> Any:
    """The policy as a tree that keeps comments; one that would be written with another meaning is refused."""
    tree = _yaml().load(body)
    if structs.replace(parse(body), hash="") != structs.replace(parse(_text(tree)), hash=""):
        raise ValueError("this policy's YAML does not survive being written again; use plain values in it")
    return tree


def _text(tree: Any) -> bytes:
    out = StringIO()
    _yaml().dump(tree, out)
    return out.getvalue().encode()
