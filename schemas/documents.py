"""JSON Schema files of every message, generated from the structs: the contract that other teams read.

`python -m schemas.documents` writes them, `--check` fails if a file differs from the code.
"""

import sys
from pathlib import Path
from typing import Any, Final

import msgspec

from schemas import control
from schemas.deadletter import DeadLetterHeaders
from schemas.decision import Decision
from schemas.erasure import Erasure
from schemas.event import Event, OrderProperties, Traits
from schemas.outcome import Outcome
from schemas.segment import SegmentChange
from schemas.spend import Spend
from schemas.trigger import Trigger

FOLDER: Final = Path(__file__).parent / "json"
MESSAGES: Final[dict[str, Any]] = {
    "event": Event,
    "event-order-properties": OrderProperties,
    "event-traits": Traits,
    "control": control.AnyControl,
    "lease": control.Lease,
    "quantiles": control.Quantiles,
    "skip": control.Skip,
    "trigger": Trigger,
    "decision": Decision,
    "outcome": Outcome,
    "segment": SegmentChange,
    "erasure": Erasure,
    "spend": Spend,
    "deadletter-headers": DeadLetterHeaders,
}


def documents() -> dict[Path, bytes]:
    """File -> its text, as it has to be."""
    found = {}
    for name, message in MESSAGES.items():
        schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(message)}
        found[FOLDER / f"{name}.json"] = msgspec.json.format(msgspec.json.encode(schema), indent=2) + b"\n"
    return found


def main(arguments: list[str]) -> int:
    """Write or check the files; the exit code."""
    wanted = documents()
    if "--check" in arguments:
        drifted = sorted(p.name for p, text in wanted.items() if not p.exists() or p.read_bytes() != text)
        drifted += sorted(p.name for p in FOLDER.glob("*.json") if p not in wanted)
        if drifted:
            print(f"schema drift in {', '.join(drifted)}: run python -m schemas.documents", file=sys.stderr)
            return 1
        print(f"{len(wanted)} schemas match the code")
        return 0
    FOLDER.mkdir(exist_ok=True)
    for path, text in wanted.items():
        path.write_bytes(text)
    print(f"{len(wanted)} schemas written")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
