"""The mutation gate: `make mutants`. Takes each safety rule away in a copy of the tree; a test has to go red.

By default those rules that need no broker.

It fails if a mutant survives, or if its text isn't found exactly once any more.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from time import monotonic
from typing import Final, NamedTuple

from rich.console import Console
from rich.table import Table

from agents.local import home
from agents.process import follow_parent
from tests.mutants.churn import CHURN
from tests.mutants.contact import CONTACT
from tests.mutants.dark_time import DARK_TIME
from tests.mutants.erasure import ERASURE
from tests.mutants.evidence import EVIDENCE
from tests.mutants.mutant import Mutant
from tests.mutants.order import ORDER
from tests.mutants.records import RECORDS
from tests.mutants.restraint import RESTRAINT
from tests.mutants.scores import MODELS
from tests.mutants.segments import SEGMENTS
from tests.mutants.transport import SHELL, TRANSPORT

ROOT: Final = Path(__file__).parents[2]
CORE: Final = (*RECORDS, *ORDER, *RESTRAINT, *DARK_TIME, *ERASURE)
WITHOUT_KAFKA: Final = (*CORE, *CHURN, *CONTACT, *MODELS, *SEGMENTS, *EVIDENCE, *SHELL)
EVERY: Final = (*WITHOUT_KAFKA, *TRANSPORT)
_TREE: Final = ("schemas", "pipeline", "agents", "tests", "deploy")
_FILES: Final = ("pyproject.toml",)
_RED: Final = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)
_TESTS_FAILED: Final = 1  # pytest's exit code; any other means that the tests did not run


class Verdict(NamedTuple):
    """What became of a mutant: the test that went red, or why it counts as survived."""

    mutant: Mutant
    red: str | None
    complaint: str = ""


@contextmanager
def _copies(count: int) -> Iterator[SimpleQueue[Path]]:
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        free: SimpleQueue[Path] = SimpleQueue()
        for number in range(count):
            copy = Path(folder) / str(number)
            for name in _TREE:
                shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            for name in _FILES:
                shutil.copy(ROOT / name, copy / name)
            free.put(copy)
        yield free


def _pytest(copy: Path, tests: Sequence[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-rfE", "--no-header", "--tb=no", "-p", "no:cacheprovider"]
    env = os.environ | {"REKINDLE_HOME": str(home())}
    return subprocess.run([*command, *tests], cwd=copy, env=env, capture_output=True, text=True, check=False)


def _write(file: Path, source: str) -> None:
    """Without bytecode of before: a mutant of the same size and second as the original would be taken for it."""
    file.write_text(source)
    for compiled in (file.parent / "__pycache__").glob(f"{file.stem}.*"):
        compiled.unlink()


def _try(mutant: Mutant, free: "SimpleQueue[Path]") -> Verdict:
    source = (ROOT / mutant.file).read_text()
    if (times := source.count(mutant.text)) != 1:
        return Verdict(mutant, None, f"its text occurs {times} times in {mutant.file}: bring the mutant up to date")
    copy = free.get()
    file = copy / mutant.file
    try:
        _write(file, source.replace(mutant.text, mutant.instead))
        done = _pytest(copy, mutant.tests.split())
    finally:
        _write(file, source)
        free.put(copy)
    red = _RED.search(done.stdout)
    if done.returncode == _TESTS_FAILED and red is not None:
        return Verdict(mutant, red[1])
    if done.returncode == 0:
        return Verdict(mutant, None, "survived")
    return Verdict(mutant, None, f"its tests did not run: {(done.stdout + done.stderr).strip()[-300:]}")


def main() -> int:
    """Try all mutants; the exit code."""
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    part = parser.add_mutually_exclusive_group()
    part.add_argument("--transport", action="store_true", help="only the rules whose tests need Kafka")
    part.add_argument("--all", action="store_true", help="these too")
    parser.add_argument("--only", metavar="WORD", default="", help="rules that contain this word")
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    follow_parent()
    console = Console()
    mutants = [] if args.transport else list(WITHOUT_KAFKA)
    mutants += TRANSPORT if args.transport or args.all else []
    mutants = [mutant for mutant in mutants if args.only in mutant.rule]
    began = monotonic()
    with _copies(args.jobs) as free, ThreadPoolExecutor(args.jobs) as pool:
        tests = sorted({test for mutant in mutants for test in mutant.tests.split()})
        copy = free.get()
        sound = _pytest(copy, tests)
        free.put(copy)
        if sound.returncode:
            console.print(f"without any mutant the tests are red already:\n{sound.stdout[-2000:]}", markup=False)
            return 1
        verdicts = list(pool.map(lambda mutant: _try(mutant, free), mutants))
    table = Table("rule", "mutant", "the test that went red")
    for verdict in verdicts:
        red = f"[red]{verdict.complaint}[/]" if verdict.red is None else verdict.red.rsplit("::", 1)[-1]
        table.add_row(verdict.mutant.rule, verdict.mutant.file, red)
    console.print(table)
    survivors = sum(verdict.red is None for verdict in verdicts)
    console.print(f"{len(verdicts)} rules, {survivors} not held by a test, {monotonic() - began:.0f} s")
    return int(survivors > 0)


if __name__ == "__main__":
    sys.exit(main())
