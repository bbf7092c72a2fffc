"""Reading a policy's sections field by field. Every problem is kept with its line, so that one pass names them all."""

import re
from collections.abc import Callable, Collection, Iterable
from decimal import Decimal
from difflib import get_close_matches
from typing import Final, TypeVar

from pipeline.policy.yaml_lines import Fields, Items, Node, Scalar
from pipeline.units import DAY, HOUR, MINUTE, SECOND

T = TypeVar("T")
Kind = Callable[[Node], T]
"""Reads one value; raises Mistyped."""

LONGEST: Final = 3650 * DAY

_UNITS: Final = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY, "w": 7 * DAY}
_DURATION: Final = re.compile(r"([0-9]{1,9})(s|m|h|d|w)")
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]{1,18}(?:\.[0-9]{0,18})?|\.[0-9]{1,18})(?:[eE][+-]?[0-9]{1,2})?")
_NAME: Final = re.compile(r"[a-z0-9-]{1,64}")
_LONGEST_TEXT: Final = 200
_NOTHING: Final = Scalar(0, "")


class Mistyped(ValueError):
    """A value of another form; the text is what was expected, with an example."""


class Form:
    """The problems found so far in the text called `name`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._found: list[tuple[int, str]] = []

    def problem(self, line: int, text: str) -> None:
        """Keep a problem of `line`."""
        self._found.append((line, text))

    @property
    def count(self) -> int:
        """How many problems there are."""
        return len(self._found)

    @property
    def problems(self) -> list[str]:
        """All of them in the order of the text: "policy.yaml:12: ..."."""
        return [f"{self.name}:{line}: {text}" for line, text in sorted(self._found, key=lambda found: found[0])]

    def pairs(self, node: Node | None, title: str) -> list[tuple[Scalar, Node]]:
        """The fields of a mapping, each name once. None or empty: no fields."""
        if node is None or absent(node):
            return []
        if not isinstance(node, Fields):
            self.problem(node.line, f"{title}: expected fields with names, such as `name: value`, not {show(node)}")
            return []
        first: dict[str, int] = {}
        unique = []
        for key, value in node.pairs:
            if key.text in first:
                self.problem(key.line, f"'{key.text}' is given twice; it is already on line {first[key.text]}")
            else:
                first[key.text] = key.line
                unique.append((key, value))
        return unique

    def items(self, node: Node | None, title: str, most: int) -> list[Node]:
        """The items of a list. None or empty: no items."""
        if node is None or absent(node):
            return []
        if not isinstance(node, Items):
            self.problem(node.line, f"{title}: expected a list, one `- item` a line, not {show(node)}")
            return []
        if len(node.items) > most:
            self.problem(node.line, f"{title}: {len(node.items)} of them; at most {most}")
        return node.items[:most]

    def value(self, key: Scalar, node: Node, kind: Kind[T], default: T) -> T:
        """A field's value; the default if it is a problem."""
        try:
            return kind(node)
        except Mistyped as error:
            self.problem(key.line, f"{key.text}: expected {error}, not {show(node)}")
            return default


class Section:
    """The fields of one mapping. Unknown names are problems; `title` is what the mapping is called in them."""

    def __init__(self, form: Form, node: Node | None, title: str, names: Collection[str], line: int = 1) -> None:
        self._form = form
        self._before = form.count
        self._title = title
        self._line = line if node is None else node.line
        self._readable = node is None or absent(node) or isinstance(node, Fields)
        self._values: dict[str, tuple[Scalar, Node]] = {}
        for key, value in form.pairs(node, title):
            if key.text in names:
                self._values[key.text] = (key, value)
                continue
            near = get_close_matches(key.text[:64], names, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"the fields of {title} are {', '.join(names)}"
            form.problem(key.line, f"unknown field '{key.text[:64]}'; {hint}")

    @property
    def sound(self) -> bool:
        """Whether nothing was wrong since it was opened: rules between fields are only checked then."""
        return self._form.count == self._before

    def __contains__(self, name: str) -> bool:
        """Whether a field is given, and not left empty."""
        return name in self._values and not absent(self._values[name][1])

    def node(self, name: str) -> Node | None:
        """A field's value as written."""
        return self._values[name][1] if name in self._values else None

    def section(self, name: str, names: Collection[str]) -> "Section":
        """A field that is itself a mapping."""
        return Section(self._form, self.node(name), name, names, self._line_of(name))

    def problem(self, name: str, message: str) -> None:
        """Keep a problem of a field, or of the whole if it isn't given."""
        self._form.problem(self._line_of(name), message)

    def get(self, name: str, kind: Kind[T], default: T) -> T:
        """A field's value; the default if it isn't given or is a problem."""
        if name not in self._values:
            return default
        key, node = self._values[name]
        return self._form.value(key, node, kind, default)

    def need(self, name: str, kind: Kind[T], stand_in: T) -> T:
        """A field that must be given; the stand-in lets the reading go on when it is a problem."""
        if name not in self._values and self._readable:
            try:
                kind(_NOTHING)
            except Mistyped as error:
                self.problem(name, f"{self._title} needs the field '{name}': {error}")
        return self.get(name, kind, stand_in)

    def _line_of(self, name: str) -> int:
        return self._values[name][0].line if name in self._values else self._line


def absent(node: Node) -> bool:
    """Whether nothing was written after a field's name."""
    return isinstance(node, Scalar) and node.empty


def show(node: Node) -> str:
    """A value as it may be quoted in a message."""
    if isinstance(node, Items):
        return "a list"
    if isinstance(node, Fields):
        return "a mapping"
    if node.empty:
        return "nothing"
    text = node.text if len(node.text) <= 40 else node.text[:37] + "..."
    return repr(text)


def present(expected: str) -> Kind[Node | None]:
    """Anything but nothing."""

    def read(node: Node) -> Node:
        if absent(node):
            raise Mistyped(expected)
        return node

    return read


def text(node: Node) -> str:
    """Any text of at most 200 characters on one line; a number will do (salt: 2026)."""
    if not isinstance(node, Scalar) or node.empty or (not node.quoted and node.text.lower() in {"true", "false"}):
        raise Mistyped('a text such as "Order Completed"')
    value = node.text.strip()
    if not value or len(value) > _LONGEST_TEXT or not value.isprintable():
        raise Mistyped(f"a text of 1 to {_LONGEST_TEXT} printable characters")
    return value


def name(node: Node) -> str:
    """An id: small letters, digits and hyphens."""
    if not isinstance(node, Scalar) or node.empty or not _NAME.fullmatch(node.text):
        raise Mistyped("1 to 64 small letters, digits and hyphens, such as dormant-30d")
    return node.text


def texts(node: Node) -> tuple[str, ...]:
    """One text, or a list of at least one."""
    if isinstance(node, Items):
        if not node.items:
            raise Mistyped("at least one text")
        return tuple(text(item) for item in node.items)
    try:
        return (text(node),)
    except Mistyped:
        raise Mistyped('a text or a list of texts, such as "Order Completed" or [cpc, ppc]') from None


def choice(options: Iterable[T]) -> Kind[T]:
    """One of a few words."""
    known = {str(option): option for option in options}

    def read(node: Node) -> T:
        if isinstance(node, Scalar) and node.text in known:
            return known[node.text]
        near = get_close_matches(node.text[:64], known, n=1) if isinstance(node, Scalar) and len(known) > 1 else ()
        raise Mistyped(" or ".join(known) + (f" (did you mean {near[0]}?)" if near else ""))

    return read


def duration(least: int = HOUR, most: int = LONGEST) -> Kind[int]:
    """A time span in ms, between `least` and `most` ms."""

    def read(node: Node) -> int:
        found = _DURATION.fullmatch(node.text) if isinstance(node, Scalar) else None
        if found is None:
            raise Mistyped("a duration, a whole number with its unit such as 90s, 15m, 1h, 30d or 2w")
        span = int(found[1]) * _UNITS[found[2]]
        if not least <= span <= most:
            raise Mistyped(f"a duration between {spell(least)} and {spell(most)}")
        return span

    return read


def spell(span: int) -> str:
    """A duration as one writes it: 1209600000 -> 14d."""
    for unit in ("d", "h", "m"):
        if span and span % _UNITS[unit] == 0:
            return f"{span // _UNITS[unit]}{unit}"
    return f"{span // SECOND}s"


def integer(least: int, most: int) -> Kind[int]:
    """A whole number within bounds."""

    def read(node: Node) -> int:
        plain = isinstance(node, Scalar) and not node.quoted
        if plain and isinstance(node, Scalar) and re.fullmatch(r"-?[0-9]{1,12}", node.text):
            value = int(node.text)
            if least <= value <= most:
                return value
        raise Mistyped(f"a whole number from {least} to {most}")

    return read


def decimal(node: Node) -> Decimal:
    """A number above 0, exactly as written."""
    value = _number(node)
    if value is None or not Decimal("1e-9") <= value <= Decimal("1e9"):
        raise Mistyped("a number above 0 such as 1.08")
    return value


def positive(node: Node) -> float:
    """A number above 0."""
    return float(decimal(node))


def share(*, zero: bool) -> Kind[float]:
    """A share below 1; above 0 unless `zero` is allowed."""

    def read(node: Node) -> float:
        value = _number(node)
        if value is None or not 0 <= value < 1 or (value == 0 and not zero):
            raise Mistyped(f"a share {'of at least' if zero else 'above'} 0 and below 1, such as 0.1")
        return float(value)

    return read


def _number(node: Node) -> Decimal | None:
    if isinstance(node, Scalar) and not node.quoted and _NUMBER.fullmatch(node.text):
        return Decimal(node.text)
    return None
