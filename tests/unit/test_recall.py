"""Who is recalled, who is held out, and what became of it. The single rules are in test_restraint.py."""

from typing import Any

import msgspec
import pytest

from pipeline.recall import draw_holdout
from schemas.trigger import Trigger
from tests.builders import POLICY, Entry, adopt, at, event, fold, history, log, now, order, ticks

HALF = POLICY.replace("holdout: 0", "holdout: 0.5")
ORDERS = POLICY.replace("goal: {within: 7d}", "goal: {event: Order Completed, within: 7d}")
SHADOW_FIRST = POLICY.replace(
    "rules:", "rules:\n  - {id: tried, mode: shadow, when: {silence: 29d}, goal: {within: 7d}}"
)


def test_a_holdout_has_its_share_and_is_sticky() -> None:
    drawn = [draw_holdout("salt", f"user-{n}", "rule", 0.1) for n in range(20_000)]
    assert sum(drawn) / len(drawn) == pytest.approx(0.1, abs=0.01)
    assert drawn == [draw_holdout("salt", f"user-{n}", "rule", 0.1) for n in range(20_000)]
    wider = [draw_holdout("salt", f"user-{n}", "rule", 0.2) for n in range(20_000)]
    assert all(b for a, b in zip(drawn, wider, strict=True) if a)  # a wider share keeps who was in it
    for salt, rule in (("other", "rule"), ("salt", "other")):
        both = [a and draw_holdout(salt, f"user-{n}", rule, 0.1) for n, a in enumerate(drawn)]
        assert sum(both) / len(both) == pytest.approx(0.01, abs=0.005)
    assert not draw_holdout("salt", "u", "rule", 0.0)


def test_the_held_out_get_no_trigger_and_are_measured_alike() -> None:
    users = [f"u{n}" for n in range(40)]
    log_ = history([event(at(0), u) for u in users], ticks(at(1), at(40)), policy=HALF)
    folded = fold(log_, HALF)
    arms = {o["user"]: o["arm"] for o in folded.outcomes}
    assert set(arms) == set(users)
    assert {t["subject"] for t in folded.triggers} == {u for u, arm in arms.items() if arm == "treatment"}
    assert 8 < len(folded.triggers) < 32


def test_a_trigger_is_what_the_schema_says() -> None:
    folded = fold(history(event(at(0), source="google"), ticks(at(1), at(32))))
    [output] = folded.outputs["triggers"]
    trigger = msgspec.json.decode(output.value, type=Trigger)
    assert output.key == b"ann"
    assert trigger.time == "2024-01-31T00:00:00.000Z"
    assert trigger.data.expires_at == "2024-02-03T00:00:00.000Z"
    assert trigger.data.episode.start == "2024-01-01T00:00:00.000Z"
    assert trigger.data.evidence.last_message_id == "ann/1704067200000/Viewed"
    assert all(gate.passed for gate in trigger.data.explain)
    assert dict(output.headers) == {
        "rekindle-partition": b"0",
        "rekindle-offset": dict(output.headers)["rekindle-offset"],
    }


@pytest.mark.parametrize(
    ("policy", "back", "expected"),
    [
        (POLICY, event(at(33)), (True, True, None)),
        (ORDERS, event(at(33)), (False, True, None)),
        (ORDERS, order(at(33), revenue="12.34"), (True, True, 1234)),
        (POLICY, event(at(37)), (True, True, None)),  # the window's last moment
        (POLICY, event(at(37, 0, 1)), (False, False, None)),
    ],
)
def test_what_counts_as_recalled(policy: str, back: Entry, expected: tuple[Any, ...]) -> None:
    folded = fold(
        history(event(at(0)), ticks(at(1), back.appended), back, ticks(at(38), at(40)), policy=policy), policy
    )
    [outcome] = folded.outcomes
    assert (outcome["recalled"], outcome["returned_at"] is not None, outcome["value"]) == expected


def test_a_shadow_rule_never_takes_an_episode_from_a_live_one() -> None:
    suppressed = event(at(0, 0, 1), name="Unsubscribed")
    back = event(at(29, 12), kind="identify", traits={"unsubscribed": False}, active=False)
    records = history(
        event(at(0)), suppressed, ticks(at(1), at(29, 12)), back, ticks(at(29, 13), at(33)), policy=SHADOW_FIRST
    )
    assert fold(records, SHADOW_FIRST).decisions == [
        ("ann", "tried", "suppressed", ["unsubscribed", "shadow_mode"]),
        ("ann", "silent", "send", []),
    ]


def test_a_policy_that_is_adopted_over_500_dormant_users_sends_nothing() -> None:
    users = [event(at(0), f"u{n}") for n in range(500)]
    folded = fold(
        history(users, ticks(at(1), at(90), 6 * 3_600_000), [*_adopted(at(90))], ticks(at(90, 1), at(100)), policy=None)
    )
    assert folded.decisions == []
    assert folded.cells["stage", ("user", "dormant")] == [500]


def test_those_who_fall_due_after_the_adoption_are_decided_about() -> None:
    users = [event(at(0), "old"), event(at(0), "recent")]
    again = [*ticks(at(1), at(20), 3_600_000), event(at(20), "recent")]
    folded = fold(history(users, again, ticks(at(21), at(40)), _adopted(at(40)), ticks(at(40, 1), at(60)), policy=None))
    assert folded.decisions == [("recent", "silent", "send", [])]


def _adopted(time: int) -> list[Entry]:
    return [adopt(appended=time)]


def test_a_user_is_recalled_again_in_the_next_silence() -> None:
    folded = fold(log(now(at(0)), _adopted(at(0)), event(at(0)), _nows(1, 40), event(at(40)), _nows(41, 80)))
    assert [t["data"]["episode"]["start"][:10] for t in folded.triggers] == ["2024-01-01", "2024-02-10"]
    assert len({t["id"] for t in folded.triggers}) == 2


def _nows(start: int, end: int) -> list[Entry]:
    return [now(at(day)) for day in range(start, end + 1)]


def test_a_user_is_a_trial_once_for_each_rule_and_salt() -> None:
    def trials(*policies: str) -> dict[tuple[Any, ...], int]:
        entries = [now(at(0))]
        for n, policy in enumerate(policies):  # each of them sees two silences
            begin = 80 * n
            entries += [adopt(policy, appended=at(begin)), event(at(begin)), *_nows(begin + 1, begin + 39)]
            entries += [event(at(begin + 40)), *_nows(begin + 41, begin + 79)]
        found: dict[tuple[Any, ...], int] = {}
        for (name, dims), cell in fold(log(*entries), *policies).cells.items():
            if name == "trials":
                found[dims[1:3]] = found.get(dims[1:3], 0) + cell[0]
            elif name == "outcomes":
                decided.append(cell[0])
        return found

    decided: list[int] = []
    assert trials(POLICY) == {("silent", "0/test"): 1}
    assert sum(decided) == 2
    assert trials(POLICY, POLICY) == {("silent", "0/test"): 1}
    assert trials(POLICY, HALF) == {("silent", "0/test"): 1}, "under the same salt the arm is almost the same"
    other = POLICY.replace("salt: test", "salt: other")
    assert trials(POLICY, other) == {("silent", "0/test"): 1, ("silent", "0/other"): 1}
    overall = POLICY.replace("salt: test", "salt: test\nholdout: 0.5")
    assert trials(overall, overall) == {("silent", "0.5/test"): 1, ("*", "0.5/test"): 1}
