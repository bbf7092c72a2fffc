"""Measuring one variant: in a process of its own, in CPU time, which neighbours on the machine disturb least."""

import gc
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import psutil

from agents.process import spawn_bound


class Job(msgspec.Struct):
    """What a variant is told. `events` is how many the log under `prefix` holds; `folder` is for files."""

    brokers: str = ""
    prefix: str = ""
    events: int = 0
    folder: str = ""
    size: int = 0
    """Users, rows or seconds, whatever the variant takes."""


Figures = dict[str, float]


def cpu() -> float:
    """User and system time of this process with all its threads, s."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def rss() -> int:
    """Resident memory of this process, bytes."""
    gc.collect()
    return int(psutil.Process().memory_info().rss)


def quiet_collector() -> None:
    """The cycle collector as the worker sets it (agents/app.py), so that the loops don't lose by it."""
    gc.freeze()
    gc.set_threshold(400_000, 20, 100)


class Failed(Exception):
    """A variant did not come to its end; the text is what it said last."""


def run(variant: str, job: Job, *, timeout: float = 900.0) -> Figures:
    """Run a variant (`module:function`) in a process of its own.

    Raises:
        Failed: it ended without figures.
    """
    process = start(variant, job)
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        raise Failed(f"{variant}: not done within {timeout:.0f} s") from None
    if process.returncode:
        raise Failed(f"{variant}: exit code {process.returncode}\n{err.decode(errors='replace')[-2000:]}")
    return msgspec.json.decode(out.splitlines()[-1], type=Figures)


def start(variant: str, job: Job) -> subprocess.Popen[Any]:
    """The process of a variant, running."""
    command = [sys.executable, "-m", "benchmarks.child", variant, msgspec.json.encode(job).decode()]
    root = Path(__file__).parent.parent
    # faust asks for these by itself in every environment; without them it speaks to the terminal
    env = {**os.environ, "PYTHONPATH": str(root)}
    return spawn_bound(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, cwd=root)
