"""Events in files: JSON lines, plain or gzip, `-` for stdin; and bytes as text in JSON."""

import base64
import gzip
import io
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, cast

from agents.exits import Exit, Refusal

_GZIP: Final = b"\x1f\x8b"


@contextmanager
def _opened(name: str) -> Iterator[IO[bytes]]:
    """A file's bytes, unpacked if they are gzip, whatever it is called."""
    raw = sys.stdin.buffer if name == "-" else Path(name).open("rb")  # noqa: SIM115 closed below
    buffered = raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(cast("io.RawIOBase", raw))
    try:
        if buffered.peek(2)[:2] == _GZIP:
            with gzip.open(buffered, "rb") as unpacked:
                yield cast("IO[bytes]", io.BufferedReader(cast("io.RawIOBase", unpacked), 1 << 20))
        else:
            yield buffered
    finally:
        if name != "-":
            raw.close()


def lines(name: str, edges: bytes = b" \t\r\n") -> Iterator[tuple[int, bytes]]:
    """Number (from 1) and text of a file's lines, without what of `edges` is at their ends; blank ones are passed over,
    but counted.

    Raises:
        Refusal: the file can't be read; the line says why.
    """
    shown = "stdin" if name == "-" else name
    number = 0
    try:
        with _opened(name) as file:
            for number, text in enumerate(file, start=1):
                if not text.isspace():
                    yield number, text.strip(edges)
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise Refusal(Exit.USAGE, f"{shown}: {reason}" + (f" (after line {number})" if number else "")) from error


def readable(name: str) -> None:
    """Nothing if a file can be opened, `-` among them. Raises Refusal."""
    if name != "-":
        try:
            Path(name).open("rb").close()
        except OSError as error:
            raise Refusal(Exit.USAGE, f"{name}: {error.strerror}") from error


def size(names: Sequence[str]) -> int | None:
    """Bytes of all files together; None if one is not a plain file."""
    paths = [Path(name) for name in names]
    return sum(path.stat().st_size for path in paths) if all(path.is_file() for path in paths) else None


def text_of(data: bytes) -> str | dict[str, str]:
    """Bytes for JSON: text if they are UTF-8, else {"base64": ...}."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def bytes_of(text: str | dict[str, str]) -> bytes:
    """The inverse of `text_of`."""
    return text.encode() if isinstance(text, str) else base64.b64decode(text["base64"])
