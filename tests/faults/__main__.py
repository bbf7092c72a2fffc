"""Long fault runs: `make faults N=25 SEED=7`. A table, and build/faults.json.

Exit code 1 if anything was lost, wrong, doubled, unsafe or stuck, or if all faults together left out what they have to
cover.
"""

import argparse
import asyncio
import json
import logging
import shutil
import sys
from contextlib import aclosing
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table

from agents.erasure_key import make_erasure_key
from agents.local import LocalKafka, home
from agents.process import follow_parent
from agents.settings import load_settings
from tests.faults.outputs import KINDS
from tests.faults.runs import PLANS, Run, runs_of
from tests.waiting import BROKER_SETTINGS

OUT = Path("build/faults.json")
COUNTS = ("lost", "wrong", "duplicate", "state_errors")


async def _all(kafka: LocalKafka, args: argparse.Namespace, folder: Path, console: Console) -> list[Run]:
    found: list[Run] = []
    for fault in args.only:
        if missing := PLANS[fault].missing():
            console.print(f"{fault:22} not here: {missing}", style="yellow", markup=False)
            continue
        async with aclosing(runs_of(kafka, fault, range(args.runs), args.seed, folder)) as them:
            async for run in them:
                found.append(run)
                verdict = "[green]ok[/]" if run.check.ok else "[red]failed[/]"
                took = f"{run.seconds:5.1f} s  {run.check.findings.read:8,} records"
                console.print(f"{fault:22} {run.number:3}  {took}  {verdict}")
                if not run.check.ok:
                    console.print(run.check.words, style="red", markup=False)
    return found


def _summary(found: list[Run], faults: list[str]) -> dict[str, dict[str, int]]:
    summary = {}
    for fault in faults:
        runs = [run for run in found if run.fault == fault]
        counts = {name: sum(getattr(run.check.findings, name) for run in runs) for name in COUNTS}
        summary[fault] = {"runs": len(runs), **counts}
    return summary


def main() -> int:
    """Run, print, write; the exit code."""
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--runs", type=int, default=25, help="of each fault")
    parser.add_argument("--seed", default="1", help="the same seed does the same to the same input")
    parser.add_argument("--only", action="append", choices=PLANS, metavar="FAULT", help=f"one of: {', '.join(PLANS)}")
    parser.add_argument("--folder", type=Path, default=None, help="keep the workers' and the broker's logs here")
    args = parser.parse_args()
    follow_parent()
    make_erasure_key(load_settings())
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # of a broker that is away by intent
    console = Console()
    args.only = args.only or list(PLANS)
    folder = args.folder or home() / "faults"
    if args.folder is None:  # of a run that failed
        shutil.rmtree(folder, ignore_errors=True)
    with LocalKafka(folder / "kafka", heap_mb=512, settings=BROKER_SETTINGS) as kafka:
        found = asyncio.run(_all(kafka, args, folder, console))
    summary = _summary(found, args.only)
    table = Table(Column("fault", no_wrap=True), "runs", "lost", "wrong", "duplicate", "state errors", "failed runs")
    for fault, counts in summary.items():
        failed = sum(not run.check.ok for run in found if run.fault == fault)
        table.add_row(fault, *(str(count) for count in counts.values()), str(failed))
    console.print(table)
    came = set().union(*(run.check.seen for run in found))
    missing = sorted(KINDS - came)
    console.print(f"of {len(KINDS)} kinds of things {len(KINDS) - len(missing)} came about", markup=False)
    if missing:
        console.print(f"never: {', '.join(missing)}", style="yellow", markup=False)
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(summary, indent=2) + "\n")
    bad = not all(run.check.ok for run in found) or bool(missing and args.only == list(PLANS))
    if not bad and args.folder is None:
        shutil.rmtree(folder, ignore_errors=True)
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
