"""The process of one variant: `python -m benchmarks.child MODULE:FUNCTION JOB`; its figures are its last line."""

import sys
from importlib import import_module

import msgspec

from benchmarks.measure import Job


def main() -> None:
    module, _, function = sys.argv[1].partition(":")
    variant = getattr(import_module(f"benchmarks.{module}"), function)
    figures = variant(msgspec.json.decode(sys.argv[2], type=Job))
    sys.stdout.write(msgspec.json.encode(figures or {}).decode() + "\n")


if __name__ == "__main__":
    main()
