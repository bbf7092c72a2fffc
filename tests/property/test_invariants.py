"""What holds for every log."""

from collections import Counter
from typing import Any

from hypothesis import given

from pipeline.erasure import MARK_BYTES
from pipeline.lifecycle import DORMANT, STAGES, UNSEEN
from pipeline.records import LogRecord
from pipeline.sums import GROWTH
from tests.builders import Folded, fold
from tests.property.policies import NO_RECALLS
from tests.property.strategies import REGISTRY, logs


@given(logs())
def test_the_invariants_hold(records: list[LogRecord]) -> None:
    folded = fold(records, extra=REGISTRY)
    _counts_add_up(folded, records)
    _growth_explains_the_stock(folded)
    _stocks_are_what_the_rows_say(folded)
    _memberships_are_what_the_messages_say(folded, erased={r.key for r in records if b'"delete"' in (r.value or b"")})
    _a_trigger_is_a_decision_to_send(folded)
    erased = {(r.key or b"").decode() for r in records if b'"delete"' in (r.value or b"")}
    _one_contact_per_episode(folded, erased)
    _one_outcome_per_contact(folded, erased)
    _arms_only_after_all_gates(folded)
    _who_was_erased_stays_erased(folded)


def _counts_add_up(folded: Folded, records: list[LogRecord]) -> None:
    counts = folded.counts
    assert counts["read"] == counts["applied"] + counts["duplicate"] + counts["rejected"]
    assert counts["read"] + counts["control"] == len(records)
    assert counts["rejected"] == len(folded.deadletters)
    assert counts["late"] + counts["backfilled"] <= counts["applied"]


def _growth_explains_the_stock(folded: Folded) -> None:
    for kind in ("user", "visitor"):
        grown: Counter[str] = Counter()
        for (name, dims), cell in folded.cells.items():
            if name == "growth" and dims[1] == kind:
                grown.update(dict(zip(GROWTH.fields, cell, strict=True)))
        there = [s for s in folded.users.values() if s.known == (kind == "user") and s.stage not in (UNSEEN, DORMANT)]
        assert grown["new"] + grown["returned"] - grown["dormant"] - grown["expired"] == len(there)
        assert min(grown.values(), default=0) >= 0


def _stocks_are_what_the_rows_say(folded: Folded) -> None:
    seen = [s for s in folded.users.values() if s.stage != UNSEEN]
    stages = Counter(("user" if s.known else "visitor", STAGES[s.stage]) for s in seen)
    risks = Counter((f"{s.risk / 10:.1f}",) for s in seen if s.known)
    assert {dims: cell[0] for (name, dims), cell in folded.cells.items() if name == "stage"} == stages
    assert {dims: cell[0] for (name, dims), cell in folded.cells.items() if name == "risk"} == risks


def _memberships_are_what_the_messages_say(folded: Folded, erased: set[bytes | None]) -> None:
    messages = folded.messages("segments")
    assert not _repeated(message["id"] for message in messages)
    told: dict[str, set[tuple[str, str]]] = {}
    for message in messages:
        data, mine = message["data"], told.setdefault(message["subject"], set())
        assert ((data["kind"], data["segment"]) in mine) == (data["change"] == "leave") or message[
            "subject"
        ].encode() in erased
        (mine.add if data["change"] == "enter" else mine.discard)((data["kind"], data["segment"]))
    stock: Counter[tuple[str, str]] = Counter()
    for user, state in folded.users.items():
        groups = state.groups
        inside = {("segment", kept.segment) for kept in groups.segments} if groups else set()
        inside |= {("tier", groups.tier)} if groups and groups.tier else set()
        assert user.encode() in erased or inside == told.get(user, set())
        stock.update(inside)
    assert {dims: cell[0] for (name, dims), cell in folded.cells.items() if name == "segments"} == stock


def _a_trigger_is_a_decision_to_send(folded: Folded) -> None:
    sent = [m["data"]["trigger_id"] for m in folded.messages("decisions") if m["data"]["decision"] == "send"]
    assert [t["id"] for t in folded.triggers] == sent


def _one_contact_per_episode(folded: Folded, erased: set[str]) -> None:
    assert not _repeated(t["id"] for t in folded.triggers)
    first = [m for m in folded.messages("decisions") if m["data"]["experiment"] and not m["data"]["step"]]
    silences = [m for m in first if m["subject"] not in erased and m["data"]["rule_id"] not in NO_RECALLS]
    assert not _repeated((m["subject"], m["data"]["episode"]["start"]) for m in silences)
    assert not _repeated(m["data"]["trigger_id"] for m in first)


def _one_outcome_per_contact(folded: Folded, erased: set[str]) -> None:
    """Of every contact, but for those whose goal window is open."""
    decisions = [m for m in folded.messages("decisions") if m["subject"] not in erased]
    begun = {m["data"]["trigger_id"] for m in decisions if m["data"]["experiment"] and not m["data"]["step"]}
    running = {s.recall.trigger_id for s in folded.users.values() if s.recall and s.recall.window_end}
    outcomes = [o for o in folded.outcomes if o["user"] not in erased]
    assert not _repeated(o["trigger_id"] for o in folded.outcomes)
    assert {o["trigger_id"] for o in outcomes} == begun - running


def _arms_only_after_all_gates(folded: Folded) -> None:
    for message in folded.messages("decisions"):
        data = message["data"]
        drawn = data["decision"] in ("send", "holdout")
        assert drawn == (data["reasons"] in ([], ["global_holdout"])) == (data["experiment"] is not None)
        others = [f"_{channel}" for channel in ("email", "push", "sms") if drawn and channel != data["channel"]]
        tested = [gate for gate in data["explain"] if not gate["feature"].endswith(tuple(others))]
        assert drawn == all(gate["passed"] for gate in tested)
        if drawn:
            assert (data["experiment"]["arm"] == "holdout") == (data["decision"] == "holdout")


def _who_was_erased_stays_erased(folded: Folded) -> None:
    for user, state in folded.users.items():
        until = folded.partition.marks.until(user.encode())
        assert state.activity.erased == until
        assert not state.activity.days or state.activity.first > until
    for output in folded.outputs.get("deadletters", []):
        if dict(output.headers)["reason"] == b"erased":
            assert output.value == b""
            assert len(bytes.fromhex(output.key.decode())) == MARK_BYTES


def _repeated(values: Any) -> list[Any]:
    return [value for value, times in Counter(values).items() if times > 1]
