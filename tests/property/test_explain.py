"""What is foretold is what is decided, to the letter, if silence goes on."""

from collections.abc import Sequence

from hypothesis import given

from pipeline.explain import context_of, explain, foresee
from pipeline.outlook import Outlook
from pipeline.records import LogRecord
from pipeline.risk import from_json
from pipeline.state import encode_row
from pipeline.units import DAY, HOUR
from schemas.codec import decode_quantiles, encode_json, rfc3339
from schemas.decision import Decision
from schemas.segment import SegmentChange
from tests.builders import Entry, Folded, fold, log, now, release, tick
from tests.property.policies import CALM, GROUPED, RISKY
from tests.property.strategies import REGISTRY, logs

_FURTHER = 20 * DAY


def _silence(folded: Folded, appended: int) -> list[Entry]:
    """Every hour a tick, and nothing else."""
    position = folded.partition.position
    start = max(position.horizon or 0, appended) // HOUR * HOUR + HOUR
    times = range(start, start + _FURTHER, HOUR)
    return [now(time) if position.domain == "live" else tick(time) for time in times]


def _says_the_same(outlook: Outlook, foretold: Sequence[Decision | SegmentChange]) -> None:
    """The outlook names the first decision of each rule, at the rule's deadline, and every change of segments."""
    decisions = [message for message in foretold if isinstance(message, Decision)]
    first = {decision.data.rule_id: decision for decision in reversed(decisions)}
    changes = [message for message in foretold if isinstance(message, SegmentChange)]
    told = [(change.at, change.change, change.kind, change.name) for change in outlook.changes]
    assert told == [(c.time, c.data.change, c.data.kind, c.data.segment) for c in changes]
    assert not changes or (outlook.next is not None and outlook.next.at <= changes[0].time)
    for rule in outlook.rules:
        decision = first.get(rule.rule)
        assert (rule.status == "pending") == (decision is not None)
        if decision is not None:
            assert rule.deadline == decision.data.episode.entered_at
            assert rule.foretold == decision.data.decision
            assert rule.reasons == decision.data.reasons
            assert [gate.words for gate in rule.then if not gate.passed] == rule.why_not or decision.data.experiment


@given(logs(policies=(CALM, RISKY, GROUPED)))
def test_what_is_foretold_is_what_is_decided(records: list[LogRecord]) -> None:
    folded = fold(records, extra=REGISTRY)
    appended = max(record.timestamp for record in records)
    offset = records[-1].offset + 1
    folded.feed(log(release(appended), start=offset))  # the source speaks, as far as anybody knows
    partition = folded.partition
    body = REGISTRY.get(f"model/{partition.position.model}")
    model = None if body is None else from_json(body)
    body = REGISTRY.get(f"quantiles/{partition.position.quantiles}")
    top = decode_quantiles(body).features if body is not None else None
    context = context_of(partition.position, partition.guard, partition.policy, "default", model, quantiles=top)
    foretold: dict[str, list[Decision | SegmentChange]] = {}
    for user, state in folded.users.items():
        before = encode_row(state)
        foretold[user] = list(foresee(user, state, context)) if state.known else []
        outlook = explain(user, state, context)
        assert encode_row(state) == before
        _says_the_same(outlook, foretold[user])
    known = {topic: len(folded.messages(topic)) for topic in ("decisions", "segments")}
    folded.feed(log(_silence(folded, appended), start=offset + 1))
    until = rfc3339(partition.position.next_hour * HOUR)
    for topic, kind in (("decisions", Decision), ("segments", SegmentChange)):
        came: dict[str, list[bytes]] = {}
        for output in folded.outputs.get(topic, [])[known[topic] :]:
            came.setdefault((output.key or b"").decode(), []).append(output.value)
        for user, found in foretold.items():
            expected = [encode_json(each) for each in found if isinstance(each, kind) and each.time < until]
            assert came.get(user, []) == expected
        assert came.keys() <= foretold.keys()
