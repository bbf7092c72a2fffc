from dataclasses import replace

import msgspec
import pytest
from msgspec.structs import replace as replace_fields

from agents.evidence import Evidence
from agents.exits import Exit, Refusal
from agents.oracle import Findings, Gone, check
from agents.outputcheck import source_offset
from agents.snapshot import Begin
from agents.statecheck import invariants
from pipeline.erasure import WrongKey, decode_mark, encode_mark
from pipeline.partition import Partition
from pipeline.position import decode_position, encode_position
from pipeline.records import LogRecord
from pipeline.risk import Recency
from pipeline.units import DAY
from schemas.control import CONTROL_KEY
from schemas.partitioner import partition_of
from schemas.topics import OUTPUTS
from tests.builders import (
    POLICY,
    adopt,
    adopt_model,
    at,
    event,
    fold,
    gap,
    history,
    log,
    models,
    order,
    played,
    registry,
    tick,
    ticks,
)
from tests.kept import write as keep

COUNT = 2
TOPICS = tuple(topic.name for topic in OUTPUTS)
GROUPED = POLICY.replace(
    "rules:",
    "tiers: [{id: buyers, where: {orders: {at_least: 1}}}]\n"
    "segments: [{id: quiet, where: {silence_days: {at_least: 10}}}]\nrules:",
)


def users(number: int, many: int) -> list[str]:
    return [u for u in (f"user-{n}" for n in range(100)) if partition_of(u.encode(), COUNT) == number][:many]


def inputs(number: int) -> list[LogRecord]:
    """Six users silent from the first day on, one of whom is back after the trigger; one who is erased, and of whom an
    old event comes again; a bad record; ticks to day 45.
    """
    *names, erased = users(number, 7)
    return history(
        event(at(0), erased),
        event(at(0, 1), erased, kind="delete"),
        event(at(0), erased, id="again"),
        [event(at(0, 0, 5 * n), name, source="google") for n, name in enumerate(names)],
        order(at(0, 1), names[0], 30),
        event(at(0, 1), names[0], key=b"somebody-else"),
        ticks(at(0, 6), at(33), 6 * 3_600_000),
        event(at(33, 0, 30), names[1]),
        ticks(at(33, 6), at(45), 6 * 3_600_000),
        policy=GROUPED,
    )


@pytest.fixture
def evidence() -> Evidence:
    """What two partitions that work well leave behind."""
    found = Evidence("users", COUNT, registry(GROUPED, POLICY), {}, {}, {topic: {} for topic in TOPICS})
    for number in range(COUNT):
        found.inputs[number] = inputs(number)
        write(found, number, found.inputs[number])
    return found


def write(found: Evidence, number: int, records: list[LogRecord]) -> None:
    keep(found, Partition(number, found.count, found.registry), [records[n : n + 7] for n in range(0, len(records), 7)])


def snapshot(found: Evidence, many: int) -> Begin:
    """As of the first records of each partition."""
    before = replace(found, state={}, outputs={topic: {} for topic in TOPICS})
    for number in range(found.count):
        write(before, number, found.inputs[number][:many])
    return Begin(before.state, found.registry)


def cut(found: Evidence, earliest: int) -> Evidence:
    """What is left when retention has deleted records before `earliest`, of the user topic and all others."""
    inputs = {n: [record for record in records if record.offset >= earliest] for n, records in found.inputs.items()}
    starts = {topic: dict.fromkeys(inputs, earliest) for topic in ("users", *TOPICS)}
    outputs = {
        topic: {
            n: [r for r in records if (source_offset(topic, r.headers) or 0) >= earliest]
            for n, records in partitions.items()
        }
        for topic, partitions in found.outputs.items()
    }
    return replace(found, inputs=inputs, outputs=outputs, starts=starts)


def counts(findings: Findings) -> tuple[int, int, int, int]:
    return findings.lost, findings.wrong, findings.duplicate, findings.state_errors


def test_another_key_of_erasures_is_refused(evidence: Evidence) -> None:
    with pytest.raises(WrongKey):
        check(evidence, secret=b"another")


def test_what_the_core_wrote_agrees(evidence: Evidence) -> None:
    findings = check(evidence)
    assert findings.ok, findings.details
    assert findings.read == sum(map(len, evidence.inputs.values()))
    assert len(evidence.outputs["triggers"][0]) == 6
    assert evidence.outputs["outcomes"][1]
    assert all(evidence.outputs[topic][1] for topic in TOPICS)


@pytest.mark.parametrize("topic", TOPICS)
def test_a_lost_a_doubled_and_a_foreign_output(evidence: Evidence, topic: str) -> None:
    found = evidence.outputs[topic][1]
    first = found.pop(0)
    findings = check(evidence)
    assert counts(findings) == (1, 0, 0, 0)
    assert findings.details[0].startswith(f"partition 1: lost: {topic} ")
    found += [first, first]
    assert counts(check(evidence)) == (0, 0, 1, 0)
    found.pop()
    if topic == "deadletters":
        foreign = replace_fields(first, headers=[(n, b"0" if n == "offset" else v) for n, v in first.headers])
    else:
        assert first.value is not None
        foreign = replace_fields(first, value=msgspec.json.encode(msgspec.json.decode(first.value) | {"id": "another"}))
    found.append(foreign)
    assert counts(check(evidence)) == (0, 1, 0, 0)


def test_changed_content_is_wrong_once(evidence: Evidence) -> None:
    found = evidence.outputs["decisions"][0]
    assert found[2].value is not None
    found[2] = replace_fields(found[2], value=found[2].value.replace(b"send", b"sand"))
    findings = check(evidence)
    assert counts(findings)[:2] in {(0, 1), (1, 1)}  # its id names the verdict, too
    assert not findings.ok


def test_a_trigger_twice_with_different_content_is_a_duplicate(evidence: Evidence) -> None:
    found = evidence.outputs["triggers"][0]
    assert found[0].value is not None
    found.append(replace_fields(found[0], value=found[0].value.replace(b"come-back", b"come-here")))
    assert check(evidence).duplicate >= 1


def test_a_row_that_is_missing_stale_or_too_many(evidence: Evidence) -> None:
    key = b"u" + users(0, 1)[0].encode()
    state = evidence.state[0]
    row = state.pop(key)
    findings = check(evidence)
    assert findings.state_errors >= 2  # the row, and the sums that count it
    assert f"partition 0: the row of user '{key[1:].decode()}' is missing" in findings.details
    state[key] = state[b"u" + users(0, 2)[1].encode()]
    assert any("differs in" in line and "activity" in line for line in check(evidence).details)
    state[key] = row
    state[b"ustranger"] = row
    assert any("'stranger' should not be there" in line for line in check(evidence).details)


def test_what_differs_is_worded_and_not_printed_whole(evidence: Evidence) -> None:
    state = evidence.state[0]
    guard = msgspec.msgpack.decode(state[b"g"])
    assert len(guard[0]) == 168
    guard[0][17] = 48
    state[b"g"] = msgspec.msgpack.encode(guard)
    assert check(evidence).details == ["partition 0: the source guard differs in [0][17]: 48 instead of -1"]
    guard[0] = guard[0][1:]
    state[b"g"] = msgspec.msgpack.encode(guard)
    assert check(evidence).details == [
        "partition 0: the source guard differs in [0]: 167 entries instead of 168 entries"
    ]
    [one, other] = [b"u" + user.encode() for user in users(0, 3)[1:]]
    state[one] = state[other]
    for line in check(evidence).details:
        assert "b'" not in line
        assert len(line) < 250


def test_whose_output_it_is_is_told_of_control_messages_too(evidence: Evidence) -> None:
    evidence.inputs[0].append(LogRecord(evidence.inputs[0][-1].offset + 1, at(46), CONTROL_KEY, b"{}"))
    write(evidence, 0, evidence.inputs[0])
    evidence.outputs["deadletters"][0].pop()
    [line] = check(evidence).details
    assert line.startswith("partition 0: lost: deadletters 0:")
    assert "of a control message, from record " in line


def test_a_cell_that_was_counted_twice(evidence: Evidence) -> None:
    state = evidence.state[1]
    key = next(key for key in state if key.startswith(b"schannels"))
    state[key] = msgspec.msgpack.encode([2 * n for n in msgspec.msgpack.decode(state[key])])
    findings = check(evidence)
    assert counts(findings) == (0, 0, 0, 1)
    assert "the cell channels" in findings.details[0]


def test_a_partition_row_that_cant_be_read(evidence: Evidence) -> None:
    evidence.state[0][b"p"] = b"\xc1"
    findings = check(evidence)
    assert counts(findings) == (0, 0, 0, 1)
    assert findings.details[0].startswith("partition 0: the partition row can't be read")


def test_a_mark_that_is_missing_or_tells_another_time(evidence: Evidence) -> None:
    state = evidence.state[0]
    [key] = [key for key in state if key[:1] == b"e"]
    mark = decode_mark(state.pop(key))
    findings = check(evidence)
    assert counts(findings) == (0, 0, 0, 1)
    assert findings.details == [f"partition 0: the mark {key[1:].hex()} is missing"]
    state[key] = encode_mark(replace_fields(mark, until=mark.until - 1))
    findings = check(evidence)
    assert counts(findings) == (0, 0, 0, 1)
    assert findings.details[0].startswith(f"partition 0: the mark {key[1:].hex()} differs in ")


@pytest.mark.parametrize(
    ("topic", "said", "instead"), [("segments", b"enter", b"leave"), ("erasures", b"2024", b"2025")]
)
def test_a_change_of_a_segment_and_a_certificate_that_say_something_else(
    evidence: Evidence, topic: str, said: bytes, instead: bytes
) -> None:
    found = evidence.outputs[topic][0]
    value = found[0].value
    assert value is not None
    assert said in value
    found[0] = replace_fields(found[0], value=value.replace(said, instead))
    assert counts(check(evidence)) == (0, 1, 0, 0)


def test_who_is_in_a_segment_or_tier_is_counted_there_even_if_both_sides_agree(evidence: Evidence) -> None:
    state = evidence.state[0]
    assert not list(invariants(0, state))
    for kind in ("segment", "tier"):
        [cell] = [key for key in state if key.startswith(f"ssegments\x1f{kind}".encode())]
        kept = state[cell]
        state[cell] = msgspec.msgpack.encode([msgspec.msgpack.decode(kept)[0] + 1])
        [line] = invariants(0, state)
        assert line.startswith(f"partition 0: -1 users are in ('{kind}', ")
        state[cell] = kept


def test_growth_and_stage_have_to_add_up_even_if_both_sides_agree(evidence: Evidence) -> None:
    state = evidence.state[0]
    assert not list(invariants(0, state))
    del state[b"u" + users(0, 1)[0].encode()]
    lines = list(invariants(0, state))
    assert any("the sums say 6 users" in line or "the sums say" in line for line in lines)


def test_every_score_that_waits_is_in_a_row_even_if_both_sides_agree() -> None:
    model = Recency(30 * DAY, 0.0, 0.0, 1.0).to_json()
    users = [event(at(0), name) for name in ("ann", "bob")]
    folded = fold(history(adopt_model(model), users, ticks(at(0), at(15)), event(at(15))), extra=models(model))
    table = folded.table
    assert not list(invariants(0, table))
    [cell] = [key for key in table if key.startswith(b"scalibration")]
    told = msgspec.msgpack.decode(table[cell])
    assert told[:3] == [2, 0, 1]
    table[cell] = msgspec.msgpack.encode([2, 1, 1, 0, told[4]])
    [line] = invariants(0, table)
    assert line.startswith("partition 0: +1 scores wait of (")


def test_what_is_not_folded_yet_is_not_compared(evidence: Evidence) -> None:
    whole = evidence.inputs[0]
    write(evidence, 0, whole[:40])
    findings = check(evidence)
    assert findings.ok, findings.details
    assert findings.behind == len(whole) - 40
    evidence.state[1] = {}
    for topic in TOPICS:
        evidence.outputs[topic][1] = []
    findings = check(evidence)
    assert findings.ok, findings.details
    assert findings.behind == len(whole) - 40 + len(evidence.inputs[1])


def test_a_worker_inside_of_a_record_is_told_apart_from_a_wrong_one(evidence: Evidence) -> None:
    many = [f"user-{n}" for n in range(20_000) if partition_of(f"user-{n}".encode(), COUNT) == 0]
    records = log(played(), tick(at(0)), adopt(), [event(at(0, 0, 30), user) for user in many], tick(at(40)))
    partition = Partition(0, COUNT, evidence.registry)
    state: dict[bytes, bytes] = {}
    for _ in partition.fold(records):
        state.update((k, v) for k, v in partition.commit().changelog if v is not None)
        position = decode_position(state[b"p"])
        if position.offset == len(records) - 1 and position.next_hour > at(15) // 3_600_000:
            break
    evidence.inputs[0], evidence.state[0] = records, state
    findings = check(evidence)
    assert findings.unsettled == [0]
    assert counts(findings) == (0, 0, 0, 0)
    assert not findings.ok


def test_an_accepted_gap_is_not_replayed() -> None:
    found = Evidence("users", 1, registry(POLICY), {}, {}, {topic: {} for topic in TOPICS})
    names = ("ann", "bob", "cem")
    entries = [event(at(0, 0, n), name) for n, name in enumerate(names)]
    records = log(played(), tick(at(0)), adopt(), entries, gap(4, 6), event(at(0, 0, 6), "dan"))
    kept = [record for record in records if not 4 <= record.offset < 6]
    partition = Partition(0, 1, found.registry)
    for _ in partition.fold(kept):
        pass
    found = replace(found, inputs={0: records}, state={0: {k: v for k, v in partition.commit().changelog if v}})
    found.outputs = {topic: {0: []} for topic in TOPICS}
    findings = check(found)
    assert findings.ok, findings.details
    assert findings.read == len(kept)


def test_a_log_that_retention_has_cut_is_said_to_be_cut(evidence: Evidence) -> None:
    left = replace(evidence, inputs=evidence.inputs | {0: evidence.inputs[0][6:]}, starts={"users": {0: 6}})
    findings = check(left)
    assert findings.gone == [Gone(0, 0, 5)]
    assert findings.details == []
    assert not findings.differs
    assert not findings.ok
    assert findings.read == len(evidence.inputs[1])
    left.state[0].pop(b"u" + users(0, 1)[0].encode())
    assert check(left).differs, "rows and sums are compared all the same"


def test_what_is_left_of_a_log_is_replayed_from_a_snapshot(evidence: Evidence) -> None:
    begin = snapshot(evidence, 40)
    for left in (evidence, cut(evidence, 30), cut(evidence, 40)):
        findings = check(left, begin=begin)
        assert findings.ok, (findings.details, findings.gone)
        assert findings.read == sum(map(len, evidence.inputs.values())) - 80
    findings = check(cut(evidence, 41), begin=begin)
    assert findings.gone == [Gone(0, 40, 40), Gone(1, 40, 40)]
    left = replace(cut(evidence, 40), starts={"users": {0: 40, 1: 40}})
    left.outputs["triggers"][1].pop()
    left.state[0].pop(b"u" + users(0, 1)[0].encode())
    findings = check(left, begin=begin)
    assert findings.lost == 1
    assert any("is missing" in line for line in findings.details)


@pytest.mark.parametrize("many", [8, 40])
def test_a_snapshot_of_another_log_or_of_after_the_state_is_refused(evidence: Evidence, many: int) -> None:
    begin = snapshot(evidence, many)
    last = evidence.inputs[1][many - 1]
    other = [*evidence.inputs[1][: many - 1], replace_fields(last, value=b"{}"), *evidence.inputs[1][many:]]
    with pytest.raises(Refusal, match=rf"users partition 1 was recreated: its record {many - 1} is not") as refused:
        check(replace(evidence, inputs=evidence.inputs | {1: other}), begin=begin)
    assert refused.value.code is Exit.RECREATED
    with pytest.raises(Refusal, match="take an older one"):
        check(replace(evidence, state=snapshot(evidence, many - 1).tables), begin=begin)
    with pytest.raises(Refusal, match="the snapshot has 1 partitions, and users 2"):
        check(evidence, begin=Begin({0: begin.tables[0]}, begin.registry))


def test_a_state_that_began_with_a_cut_log_is_replayed(evidence: Evidence) -> None:
    """As of a deployment that is newer than its log."""
    left = replace(evidence, starts={"users": {0: 6}})
    left.inputs[0] = left.inputs[0][6:]
    write(left, 0, left.inputs[0])
    findings = check(left)
    assert findings.ok, findings.details
    assert findings.read == sum(map(len, left.inputs.values()))


def test_after_an_accepted_gap_a_cut_log_is_replayed_from_a_snapshot_only() -> None:
    found = Evidence("users", 1, registry(POLICY), {}, {}, {topic: {} for topic in TOPICS})
    entries = [event(at(0, 0, n), f"user-{n}") for n in range(4)]
    records = log(played(), tick(at(0)), adopt(), entries, gap(5, 7), event(at(0, 0, 6), "dan"))
    write(found, 0, records[:5])
    begin = Begin({0: found.state[0]}, {})
    write(found, 0, records[:5] + records[7:])
    left = replace(found, inputs={0: records[7:]}, starts={"users": {0: 7}})
    findings = check(left)
    assert (findings.gone, findings.unsettled, findings.differs) == ([Gone(0, 0, 6)], [], False)
    findings = check(left, begin=begin)
    assert findings.ok, findings.details


def test_an_output_that_its_topic_no_longer_holds_is_not_lost(evidence: Evidence) -> None:
    """An operator may keep a topic for a shorter time than the user topic."""
    kept = evidence.outputs["segments"]
    gone = [kept[number].pop(0) for number in (0, 0, 1)]
    assert check(evidence).lost == 3
    starts = {"segments": {0: 2, 1: 1}}
    findings = check(replace(evidence, starts=starts))
    assert findings.ok, findings.details
    assert findings.older == 3
    last = kept[1].pop()
    assert source_offset("segments", last.headers) != source_offset("segments", gone[-1].headers)
    assert counts(check(replace(evidence, starts=starts))) == (1, 0, 0, 0)


def test_only_a_record_that_is_there_can_be_in_the_middle(evidence: Evidence) -> None:
    position = decode_position(evidence.state[0][b"p"])
    assert position.horizon is not None
    position.horizon += 1
    evidence.state[0][b"p"] = encode_position(position)
    findings = check(evidence)
    assert findings.unsettled == []
    assert "partition 0: the partition row differs in horizon" in findings.details[0]
    findings = check(replace(evidence, ends={0: position.offset + 1}))
    assert findings.unsettled == [0]


def test_a_snapshot_of_a_worker_inside_of_a_record_begins_there(evidence: Evidence) -> None:
    many = [f"user-{n}" for n in range(20_000) if partition_of(f"user-{n}".encode(), COUNT) == 0]
    records = log(played(), tick(at(0)), adopt(), [event(at(0, 0, 30), user) for user in many], tick(at(40)))
    partition = Partition(0, COUNT, evidence.registry)
    state: dict[bytes, bytes] = {}
    sent: list[LogRecord] = []
    half: list[int] = []
    begin = Begin({0: {}, 1: {}}, {})
    folding = partition.fold(records)
    while True:
        more = next(folding, records) is None
        commit = partition.commit()
        state.update((k, v) for k, v in commit.changelog if v is not None)
        sent += [LogRecord(0, 0, m.key, m.value, m.headers) for m in commit.outputs.get("decisions", [])]
        half.append(len(sent))
        if more and sent:
            begin = Begin({0: dict(state), 1: {}}, {})
        if not more:
            break
    assert 0 < half[-2] < half[-1], "the snapshot is of within the last record"
    left = replace(evidence, inputs=evidence.inputs | {0: records}, state=evidence.state | {0: state})
    left.outputs = {topic: partitions | {0: []} for topic, partitions in evidence.outputs.items()}
    left.outputs["decisions"] = evidence.outputs["decisions"] | {0: sent}
    assert check(left).ok
    findings = check(left, begin=begin)
    assert findings.ok, findings.details
    sent.pop()
    assert check(left, begin=begin).lost == 1
