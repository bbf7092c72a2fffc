"""Backtests of files: histories read once, policies from files, and what was found written to a folder."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec

from agents.exits import Exit, Refusal
from agents.replay import unreadable
from pipeline.backtest import (
    LIMITS,
    Backtest,
    Comparison,
    SweepRow,
    compare,
    made_live,
    measure,
    picture,
    row,
    sweep_texts,
)
from pipeline.backtest import what_if as play_policy
from pipeline.backtest.watch import WhatIf
from pipeline.play import Raw, history_span, in_order
from pipeline.policy import Policy, PolicyError, parse
from pipeline.risk import from_json

Folded = Callable[[str, int], None]
"""Called now and then with what is being replayed and how many events of it are folded."""


class Candidate(NamedTuple):
    """A policy to try: what it is called, its text, compiled, and the churn model to adopt with it."""

    name: str
    body: bytes
    policy: Policy
    model: bytes | None = None


class Tried(msgspec.Struct):
    """What a backtest found; `sweep` has a line for each value. `limits`: what a replay cannot know."""

    backtest: Backtest
    against: Backtest | None
    comparison: Comparison | None
    sweep: list[SweepRow]
    limits: dict[str, str]


def candidate(name: str, body: bytes, *, model: bytes | None = None, live: bool = False) -> Candidate:
    """A policy by its text; `model`: a churn model's; `live`: with every rule live. Raises Refusal."""
    try:
        policy = parse(body, name=name)
        if live:
            body = made_live(body)
            policy = parse(body, name=name)
    except (PolicyError, ValueError) as error:
        raise Refusal(Exit.POLICY, f"the policy can't be used:\n{error}") from error
    return Candidate(name, body, policy, model)


def read_model(file: Path | None) -> bytes | None:
    """A churn model's text, as `rekindle fit` writes it. Raises Refusal."""
    if file is None:
        return None
    body = file.read_bytes()
    try:
        from_json(body)
    except ValueError as error:
        raise Refusal(Exit.USAGE, f"{file} is no churn model that can be used: {error}") from error
    return body


def candidates(files: Sequence[Path], *, model: bytes | None = None, live: bool = False) -> list[Candidate]:
    """Policies from files, called by their names, or by their paths if names are the same. Raises Refusal."""
    apart = len({file.name for file in files}) == len(files)
    return [candidate(file.name if apart else str(file), file.read_bytes(), model=model, live=live) for file in files]


def ordered(raws: Sequence[Raw]) -> list[Raw]:
    """A history in order of time. Raises Refusal: there is no event in it that could be played."""
    found = in_order(raws)
    if history_span(found) is None:
        raise Refusal(Exit.USAGE, f"there is no event in this history that tells a time: {unreadable(raws)}")
    return found


def sweeps(tried: Candidate, wanted: Sequence[str]) -> list[tuple[str, str, bytes]]:
    """(field, value, text) of each value of each FIELD=VALUE,VALUE. Raises Refusal."""
    found: list[tuple[str, str, bytes]] = []
    for each in wanted:
        field, equals, values = each.partition("=")
        listed = [value.strip() for value in values.split(",") if value.strip()]
        if not (equals and listed):
            raise Refusal(Exit.USAGE, f"--sweep {each}: expected a field and its values, such as silence_days=14,21,30")
        try:
            found.extend((field, value, body) for value, body in sweep_texts(tried.body, field, listed))
        except ValueError as error:
            raise Refusal(Exit.USAGE, f"--sweep {each}: {error}") from error
    return found


def what_if(raws: Sequence[Raw], tried: Candidate, folded: Folded) -> WhatIf:
    """A history, in order of time, under a policy."""
    return play_policy(raws, tried.body, model=tried.model, folded=partial(folded, tried.name))


def try_out(
    raws: Sequence[Raw],
    tried: Candidate,
    against: Candidate | None,
    swept: Sequence[tuple[str, str, bytes]],
    *,
    horizon: int,
    folded: Folded,
) -> Tried:
    """Play a history, in order of time, under every policy, one after the other. `horizon` in ms."""
    found = what_if(raws, tried, folded)
    other = None if against is None else what_if(raws, against, folded)
    lines = []
    for field, value, body in swept:
        one = play_policy(raws, body, model=tried.model, folded=partial(folded, f"{field}={value}"))
        lines.append(row(field, value, measure(one, horizon)))
    return Tried(
        measure(found, horizon),
        None if other is None else measure(other, horizon),
        None if other is None else compare(other, found),
        lines,
        LIMITS,
    )


def write(out: Path, tried: Tried, title: str) -> None:
    """backtest.json and backtest.svg. Raises Refusal."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        document = msgspec.json.format(msgspec.json.encode(tried), indent=2) + b"\n"
        (out / "backtest.json").write_bytes(document)
        (out / "backtest.svg").write_text(picture(tried.backtest, title))
    except OSError as error:
        raise Refusal(Exit.USAGE, f"--out {out}: {error.strerror}") from error
