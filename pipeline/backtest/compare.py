"""Two policies over one history: who would be sent to under one of them only, and which decisions change."""

from collections import Counter
from collections.abc import Iterable
from typing import Final

import msgspec

from pipeline.backtest.watch import Considered, WhatIf
from schemas.codec import rfc3339

NOTHING: Final = "not considered"
_Key = tuple[str, int, str, int]
"""User, start of the silence, rule, step."""


class Change(msgspec.Struct):
    """Decisions of `rule` that were `before` and are `after`: a verdict, with its first reason, or `NOTHING`."""

    rule: str
    before: str
    after: str
    count: int


class Example(msgspec.Struct):
    """A user, since when they are silent, the time of the send, and by which rule."""

    user: str
    silent_since: str
    at: str
    rule: str


class LoadChange(msgspec.Struct):
    """Sends of a channel under either policy."""

    channel: str
    before: int
    after: int


class Comparison(msgspec.Struct):
    """`both`, `only_before`, `only_after`: silences that are sent for. `users_after`: users who are newly sent to;
    `users_before`: who are no longer (under the other policy: at all). Examples are the first by time.
    """

    both: int
    only_before: int
    only_after: int
    users_both: int
    users_before: int
    users_after: int
    unchanged: int
    changes: list[Change]
    load: list[LoadChange]
    newly_sent: list[Example]
    no_longer_sent: list[Example]


def compare(before: WhatIf, after: WhatIf, examples: int = 10) -> Comparison:
    """What changes from `before` to `after`. `examples`: at most so many users of each kind."""
    was, becomes = _decisions(before.considered), _decisions(after.considered)
    changes: Counter[tuple[str, str, str]] = Counter()
    unchanged = 0
    for key in was.keys() | becomes.keys():
        old, new = was.get(key, NOTHING), becomes.get(key, NOTHING)
        if old == new:
            unchanged += 1
        else:
            changes[key[2], old, new] += 1
    sent_before, sent_after = _sent(before.considered), _sent(after.considered)
    old_users, new_users = ({user for user, _ in sent} for sent in (sent_before, sent_after))
    old_load, new_load = _load(before.considered), _load(after.considered)
    return Comparison(
        both=len(sent_before.keys() & sent_after.keys()),
        only_before=len(sent_before.keys() - sent_after.keys()),
        only_after=len(sent_after.keys() - sent_before.keys()),
        users_both=len(old_users & new_users),
        users_before=len(old_users - new_users),
        users_after=len(new_users - old_users),
        unchanged=unchanged,
        changes=[Change(*key, count) for key, count in sorted(changes.items(), key=lambda item: (-item[1], item[0]))],
        load=[LoadChange(c, old_load[c], new_load[c]) for c in sorted(old_load.keys() | new_load.keys())],
        newly_sent=_examples(sent_after.values(), old_users, examples),
        no_longer_sent=_examples(sent_before.values(), new_users, examples),
    )


def _decisions(considered: Iterable[Considered]) -> dict[_Key, str]:
    """The last decision of each rule and step about each silence, in words."""
    return {
        (one.user, one.episode, one.rule, one.step): f"{one.verdict}: {one.reasons[0]}"
        if one.reasons and one.reasons[0] != one.verdict
        else one.verdict
        for one in considered
    }


def _sent(considered: Iterable[Considered]) -> dict[tuple[str, int], Considered]:
    """The first send for each silence."""
    found: dict[tuple[str, int], Considered] = {}
    for one in considered:
        if one.verdict == "send":
            found.setdefault((one.user, one.episode), one)
    return found


def _load(considered: Iterable[Considered]) -> Counter[str]:
    return Counter(one.channel for one in considered if one.verdict == "send")


def _examples(sent: Iterable[Considered], others: set[str], most: int) -> list[Example]:
    first: dict[str, Considered] = {}
    for one in sent:
        if one.user not in others:
            first.setdefault(one.user, one)
    ordered = sorted(first.values(), key=lambda one: (one.at, one.user))
    return [Example(one.user, rfc3339(one.episode), rfc3339(one.at), one.rule) for one in ordered[:most]]
