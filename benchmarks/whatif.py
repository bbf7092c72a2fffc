"""A backtest beside a replay: the same history, the same process, one after the other.

The history is a shop's half year: users come in over four months, visit in sessions some days apart, and stop one day;
so there is about one decision for every 18 events, and hardly a day without one.
"""

import random
from collections.abc import Iterator
from pathlib import Path

from agents.cli import main as rekindle
from benchmarks.measure import Figures, Job, cpu
from benchmarks.workload import event_of, policy_of, users
from pipeline.units import DAY, HOUR, MINUTE

_START = 20_000 * DAY  # 2024-10-04
_SPAN = 180 * DAY
_EVENTS_PER_USER = 20
_SESSION = 4  # events
_GAP = 9 * DAY  # mean time between two sessions


def _history(count: int, seed: int = 1) -> Iterator[bytes]:
    rng = random.Random(seed)
    found: list[tuple[int, str]] = []
    for user in users(max(1, count // _EVENTS_PER_USER), seed):
        time = _START + rng.randrange(2 * _SPAN // 3)
        while time < _START + _SPAN and rng.random() < 0.85:
            found.extend((time + turn * 3 * MINUTE, user.name) for turn in range(_SESSION))
            time += int(rng.expovariate(1 / _GAP)) + HOUR
    found.sort()
    return (event_of(user, time, rng) for time, user in found[:count])


def backtest(job: Job) -> Figures:
    """Events per second of `rekindle backtest` over about `events` events, and its CPU time as a multiple of that of
    `rekindle replay`. Both from the first argument to the last file; imports left out.
    """
    folder = Path(job.folder)
    history, policy = folder / "half-year.jsonl", folder / "policy.yaml"
    policy.write_bytes(policy_of(live=True)[1])
    with history.open("wb") as file:
        file.writelines(line + b"\n" for line in _history(job.events))
    events = sum(1 for _ in history.open("rb"))
    words = [str(history), "--policy", str(policy), "--out", str(folder / "out"), "--json"]
    rekindle(["backtest", *words[:3]], standalone_mode=False)  # what the first call loads is left out
    began = cpu()
    rekindle(["replay", *words], standalone_mode=False)
    replayed = cpu()
    rekindle(["backtest", *words], standalone_mode=False)
    spent = cpu() - replayed
    return {"events_s": events / spent, "ratio": spent / (replayed - began)}
