"""YAML as a tree of nodes that know their line. Scalars stay text: whoever reads a field knows what it should be.

Only what a configuration needs is accepted: one document, no anchors or aliases (they can blow up), no tags, bounded
size and depth. Nothing is ever constructed.
"""

from typing import Final, TypeAlias

import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

MAX_BYTES: Final = 256 * 1024
MAX_DEPTH: Final = 8


class Scalar(msgspec.Struct, frozen=True):
    """Text; `quoted` text is never a number or a boolean."""

    line: int
    text: str
    quoted: bool = False

    @property
    def empty(self) -> bool:
        """Nothing was written: `key:`, `~` or `null`."""
        return not self.quoted and self.text in {"", "~", "null", "Null", "NULL"}


class Items(msgspec.Struct):
    """A list."""

    line: int
    items: list["Node"]


class Fields(msgspec.Struct):
    """A mapping as written: in order, with duplicates."""

    line: int
    pairs: list[tuple[Scalar, "Node"]]


Node: TypeAlias = Scalar | Items | Fields


class YamlLineError(ValueError):
    """The text can't be read as a tree; `line` counts from 1."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def read(text: str) -> Node | None:
    """The root of the document, None if there is nothing in it. Raises YamlLineError."""
    if len(text) > MAX_BYTES or len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise YamlLineError(1, f"larger than {MAX_BYTES // 1024} KB")
    try:
        return _build(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlLineError(mark.line + 1 if mark else 1, f"not YAML: {error.problem or error.context}") from None
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise YamlLineError(line, "not YAML: a character that is not allowed in it") from None
    except YAMLError as error:
        raise YamlLineError(1, f"not YAML: {error}") from None


def _build(text: str) -> Node | None:
    root: Node | None = None
    documents = 0
    open_nodes: list[Items | Fields] = []
    keys: list[Scalar | None] = []  # per open node: the key that waits for its value
    for event in YAML(typ="base", pure=True).parse(text):
        line = event.start_mark.line + 1
        if isinstance(event, (MappingEndEvent, SequenceEndEvent)):
            open_nodes.pop()
            keys.pop()
            continue
        if isinstance(event, DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise YamlLineError(line, "a second document: there can be only one")
        if not isinstance(event, NodeEvent):
            continue
        node = _node(event, line)
        if not open_nodes:
            root = node
        elif isinstance(parent := open_nodes[-1], Items):
            parent.items.append(node)
        elif (key := keys[-1]) is not None:
            parent.pairs.append((key, node))
            keys[-1] = None
        elif isinstance(node, Scalar):
            keys[-1] = node
        else:
            raise YamlLineError(line, "a field's name must be text")
        if not isinstance(node, Scalar):
            if len(open_nodes) == MAX_DEPTH:
                raise YamlLineError(line, f"nested deeper than {MAX_DEPTH}")
            open_nodes.append(node)
            keys.append(None)
    return root


def _node(event: NodeEvent, line: int) -> Node:
    if isinstance(event, AliasEvent) or event.anchor:
        raise YamlLineError(line, "anchors and aliases (& and *) are not allowed; quote a text that starts with one")
    if isinstance(event, (ScalarEvent, CollectionStartEvent)) and event.tag:
        raise YamlLineError(line, f"tags ({event.tag}) are not allowed")
    if isinstance(event, MappingStartEvent):
        return Fields(line, [])
    if isinstance(event, SequenceStartEvent):
        return Items(line, [])
    assert isinstance(event, ScalarEvent)  # noqa: S101 - there is no other node
    return Scalar(line, event.value, quoted=event.style is not None)
