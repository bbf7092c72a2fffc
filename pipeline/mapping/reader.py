"""From a mapping's YAML to a mapping, with every problem named at once."""

from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any, Final, get_args

from pipeline.mapping.mapped import (
    CONTEXT,
    OBJECTS,
    TEXTS,
    TIMES,
    Mapping,
    RecordField,
    Source,
    TimeFormat,
    as_flag,
    as_object,
    as_text,
    as_time,
)
from pipeline.mapping.paths import Path, parse_path
from pipeline.policy.form import Form, Mistyped, Section, absent, choice, show, text, texts
from pipeline.policy.yaml_lines import Fields, Items, Node, Scalar, YamlLineError, read

_TARGETS: Final = (*TEXTS, *TIMES, *OBJECTS, *CONTEXT)
_MOST: Final = 512  # columns, fields, renames


class MappingError(ValueError):
    """A mapping that can't be used; `problems` are all of them, one line each: "segment.yaml:12: ..."."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems: Final = problems


def parse_mapping(content: str | bytes, name: str = "mapping.yaml") -> Mapping:
    """Read and check a mapping. Raises MappingError with all problems; `name` stands before their lines."""
    form = Form(name)
    try:
        root = read((content.encode() if isinstance(content, str) else content).decode())
    except UnicodeError:
        raise MappingError([f"{name}:1: not UTF-8 text"]) from None
    except YamlLineError as error:
        raise MappingError([f"{name}:{error.line}: {error}"]) from None
    if root is None or absent(root):
        raise MappingError([f"{name}:1: the mapping is empty; see deploy/mappings/plain.yaml"])
    top = Section(form, root, "the mapping", ("version", "topic", "format", "columns", "each", "skip", "fields"))
    top.need("version", choice((1,)), 1)
    tsv = top.get("format", choice(("json", "tsv")), "json") == "tsv"
    columns: tuple[str, ...] = ()
    columns = top.get("columns", _names, columns)
    if tsv != bool(columns):
        top.problem("columns", "format tsv needs the names of its columns, and only that")
    skip = top.section("skip", ("path", "values"))
    skipped: tuple[str, ...] = ()
    fields = _fields(form, top.node("fields"))
    made = {source.target[0] for source in fields}
    if not made & {"userId", "anonymousId"} and not form.count:
        top.problem("fields", "who was it? a mapping needs userId or anonymousId")
    if "type" not in made and not form.count:
        top.problem("fields", "a mapping needs the field type, such as {value: track}")
    mapping = Mapping(
        topic=top.get("topic", text, None) if "topic" in top else None,
        columns=columns,
        each=top.get("each", _path, None) if "each" in top else None,
        skip=skip.need("path", _path, None) if "skip" in top else None,
        skipped=frozenset(skip.need("values", texts, skipped) if "skip" in top else ()),
        fields=fields,
    )
    strangers = [(s.name, p.steps[0]) for s in fields for p in s.paths if columns and p.steps[0] not in columns]
    for field, column in strangers:
        top.problem("fields", f"{field}: there is no column '{column}'")
    if form.count:
        raise MappingError(form.problems)
    return mapping


def _names(node: Node) -> tuple[str, ...]:
    if not isinstance(node, Items) or not 1 <= len(node.items) <= _MOST:
        raise Mistyped(f"a list of 1 to {_MOST} names")
    return tuple(text(item) for item in node.items)


def _path(node: Node) -> Path:
    try:
        return parse_path(text(node))
    except Mistyped:
        raise Mistyped("a path such as user.id") from None
    except ValueError:
        raise Mistyped("a path such as user.id, items.0.sku or contexts.data[schema=iglu:com.acme/*].data") from None


def _paths(node: Node) -> tuple[Path, ...]:
    if isinstance(node, Items) and node.items:
        return tuple(_path(item) for item in node.items)
    return (_path(node),)


def _constant(node: Node) -> Any:
    """A scalar as YAML's core schema reads it."""
    if not isinstance(node, Scalar) or node.empty:
        raise Mistyped("a text, a number, true or false")
    if not node.quoted:
        if node.text in ("true", "false"):
            return node.text == "true"
        try:
            number = Decimal(node.text)
        except InvalidOperation:
            return text(node)
        if number.is_finite():
            return int(number) if number == number.to_integral_value() and "." not in node.text else number
    return text(node)


def _renames(form: Form) -> Callable[[Node], dict[str, str] | None]:
    def readable(node: Node) -> dict[str, str] | None:
        if not isinstance(node, Fields):
            raise Mistyped("pairs such as {purchase: Order Completed}")
        return {key.text: form.value(key, value, text, "") for key, value in form.pairs(node, "rename")[:_MOST]}

    return readable


def _fields(form: Form, node: Node | None) -> tuple[Source, ...]:
    if node is None:
        form.problem(1, "a mapping needs `fields`")
    found = []
    for key, value in form.pairs(node, "fields")[:_MOST]:
        target = tuple(key.text.split("."))
        free = len(target) > 1 and target[0] in OBJECTS and all(target)
        if key.text not in _TARGETS and not free:
            known = ", ".join((*_TARGETS, "properties.NAME", "traits.NAME"))
            form.problem(key.line, f"an event has no field '{key.text[:64]}'; there are {known}")
            continue
        found.append(_source(form, key, target, value))
    # An object before its own fields, which win.
    return tuple(sorted(found, key=lambda source: len(source.target)))


def _source(form: Form, key: Scalar, target: tuple[str, ...], node: Node) -> Source:
    paths: tuple[Path, ...] = ()
    default, record = None, None
    rename: dict[str, str] | None = None
    form_of_time: TimeFormat = "any"
    timed = key.text in TIMES
    if isinstance(node, Fields):
        section = Section(form, node, key.text, ("path", "value", "record", "default", "rename", "time"), key.line)
        given = [name for name in ("path", "value", "record") if name in section]
        if ("value" in given and len(given) > 1) or not given:
            section.problem("value", f"{key.text} needs one of path, value and record; path may go with record")
        paths = section.get("path", _paths, ()) if "path" in section else ()
        record = section.get("record", choice(get_args(RecordField)), None) if "record" in section else None
        for name in ("default", "value"):
            default = section.get(name, _constant, None) if name in section else default
        rename = section.get("rename", _renames(form), None) if "rename" in section else None
        if "time" in section and not timed:
            section.problem("time", f"{key.text} is no time")
        form_of_time = section.get("time", choice(get_args(TimeFormat)), "any")
    else:
        try:
            paths = _paths(node)
        except Mistyped as error:
            form.problem(key.line, f"{key.text}: expected {error}, not {show(node)}")
    cast: Callable[[str, Any], Any] | None = None
    if timed:
        cast = as_time(form_of_time)
    elif key.text in OBJECTS:
        cast = as_object
    elif key.text in ("context.active", "context.backfill"):
        cast = as_flag
    elif key.text in (*TEXTS, *CONTEXT):
        cast = as_text
    return Source(key.text, target, paths, record, default, rename, cast)
