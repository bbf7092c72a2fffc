"""Paths into foreign messages: `context.traits.email`, `items.0.sku`, `contexts.data[schema=iglu:com.acme/*].data`."""

import re
from typing import Any, Final, NamedTuple

from schemas.codec import DECODE_ERRORS, decode_foreign

_STEP: Final = re.compile(r"(?:^|\.)(?P<name>[^.\[\]=]+)|\[(?P<field>[^.\[\]=]+)=(?P<text>[^\[\]]+)\]")
_MOST_STEPS: Final = 16


class Matching(NamedTuple):
    """The first item of a list (or the object itself) whose `field` is `text`, or begins with it if it ended in *."""

    field: str
    text: str
    begins: bool

    def of(self, value: Any) -> Any:
        """What matches; None if nothing does."""
        for item in value if isinstance(value, list) else (value,):
            found = item.get(self.field) if isinstance(item, dict) else None
            if isinstance(found, str) and (found.startswith(self.text) if self.begins else found == self.text):
                return item
        return None


Step = str | int | Matching


class Path(NamedTuple):
    """Steps from the event, or from the whole record (`/sentAt`) where that holds several events."""

    text: str
    steps: tuple[Step, ...]
    whole: bool = False

    def find(self, value: Any, texts: dict[str, Any]) -> Any:
        """What lies there, None if nothing does; an empty text is nothing. A text that holds JSON is entered like an
        object; `texts` remembers those of one record.
        """
        for step in self.steps:
            if type(value) is dict and type(step) is str:  # nearly always
                value = value.get(step)
                if value is None:
                    return None
                continue
            if isinstance(value, str):
                value = _entered(value, texts)
            if isinstance(step, str):
                value = value.get(step) if isinstance(value, dict) else None
            elif isinstance(step, int):
                value = value[step] if isinstance(value, list) and step < len(value) else None
            else:
                value = step.of(value)
            if value is None:
                return None
        return None if value == "" else value


def parse_path(text: str) -> Path:
    """Raises ValueError: the text is none."""
    body = text.removeprefix("/")
    steps: list[Step] = []
    end = 0
    for found in _STEP.finditer(body):
        if found.start() != end:
            break
        end = found.end()
        if name := found["name"]:
            steps.append(int(name) if name.isdecimal() else name)
        else:
            steps.append(Matching(found["field"], found["text"].removesuffix("*"), found["text"].endswith("*")))
    if end != len(body) or body.startswith(".") or not 1 <= len(steps) <= _MOST_STEPS:
        raise ValueError(text)
    return Path(text, tuple(steps), whole=text.startswith("/"))


def _entered(text: str, texts: dict[str, Any]) -> Any:
    if text not in texts:
        try:
            texts[text] = decode_foreign(text.encode()) if text[:1] in "{[" else None
        except DECODE_ERRORS:
            texts[text] = None
    return texts[text]
