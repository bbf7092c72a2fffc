"""Mappings: the ready ones on samples as recorded, what is refused, and what a wrong YAML is told."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.admission import Admission
from pipeline.admission import Rejection
from pipeline.mapping import Mapping, MappingError, Origin, parse_mapping
from pipeline.mapping.paths import parse_path
from pipeline.policy import DEFAULT
from schemas.codec import encode_json
from schemas.event import MAX_BYTES

ROOT = Path(__file__).parents[2]
READY = sorted((ROOT / "deploy" / "mappings").glob("*.yaml"))
NOW = 1_767_700_000_000
ORIGIN = Origin("shop.events", 3, 41, b"any key", 1_767_605_000_000)


def ready(name: str) -> Mapping:
    return parse_mapping((ROOT / "deploy" / "mappings" / f"{name}.yaml").read_bytes(), f"{name}.yaml")


def mapped(name: str, sample: str) -> list[list[Any] | Rejection]:
    lines = (ROOT / "tests" / "samples" / sample).read_bytes().splitlines()
    return [ready(name).map(line, ORIGIN._replace(offset=number)) for number, line in enumerate(lines)]


def one(found: list[Any] | Rejection) -> dict[str, Any]:
    assert isinstance(found, list)
    [event] = found
    assert isinstance(event, dict), event
    return event


def why(found: list[Any] | Rejection) -> tuple[str, str]:
    if isinstance(found, list):
        [found] = found
    assert isinstance(found, Rejection)
    assert found.stage == "ingest"
    return found.reason, found.message


def test_segment() -> None:
    page, identify, order, batch, delete = mapped("segment", "segment.jsonl")
    assert one(page) == {
        "messageId": "ajs-next-1766400000000-6f0c",
        "type": "page",
        "anonymousId": "b2f6c1d0-8d3e-4f47-9d0a-5f2a4f0f8f11",
        "timestamp": "2025-12-22T10:40:01.701Z",
        "originalTimestamp": "2025-12-22T10:40:00.101Z",
        "sentAt": "2025-12-22T10:40:00.300Z",
        "receivedAt": "2025-12-22T10:40:01.900Z",
        "properties": {"path": "/", "referrer": "https://www.google.com/", "title": "Shop"},
        "traits": {"timezone": "Europe/Berlin", "locale": "de-DE"},
        "context": {
            "campaign": {"source": "google", "medium": "cpc", "name": "winter"},
            "page": {"referrer": "https://www.google.com/"},
        },
    }
    traits = one(identify)["traits"]
    assert traits == {"timezone": "Europe/Berlin", "locale": "de-DE", "consent": {"email": True, "push": False}}
    assert one(order)["properties"]["revenue"] == Decimal("24.9")
    assert b'"revenue":24.9,' in encode_json(one(order))
    assert isinstance(batch, list)
    assert [(e["messageId"], e["userId"], e["sentAt"]) for e in batch] == [
        ("b-1", "bob", "2025-12-22T11:00:10Z"),
        ("b-2", "bob", "2025-12-22T11:00:10Z"),
    ]
    assert why(delete)[0] == "foreign_delete"


def test_rudderstack() -> None:
    added, identify, page = map(one, mapped("rudderstack", "rudderstack.jsonl"))
    assert added["traits"] == {"timezone": "Europe/London", "locale": "en-GB"}
    assert added["context"] == {
        "campaign": {"source": "newsletter", "medium": "email", "name": "jan"},
        "page": {"referrer": "https://mail.example/"},
    }
    assert identify["traits"] == {"timezone": "Europe/London", "consent": {"email": False}}
    assert "event" not in identify
    assert (page.get("userId"), page["anonymousId"]) == (None, "0c7e")


def test_snowplow_enriched() -> None:
    view, ping, struct, unstruct, bought, classic, item, short = mapped("snowplow", "snowplow.tsv")
    assert one(view) == {
        "messageId": "c6ef3124-b53a-4b13-a233-0088f79dcbcb",
        "type": "page",
        "event": "page_view",
        "anonymousId": "bd6a0a5b-6f9f-4a4b-8a8b-5f9f3b1f2c11",
        "timestamp": "2026-01-05T09:00:01.400",
        "context": {
            "campaign": {"source": "google", "medium": "cpc", "name": "winter"},
            "page": {"referrer": "https://www.google.com/"},
        },
    }
    assert ping == []
    assert item == []
    assert (one(struct)["type"], one(struct)["event"], one(struct)["userId"]) == ("track", "add-to-basket", "ann")
    assert (one(unstruct)["event"], one(unstruct)["properties"]["video"]) == ("video_played", "v-1")
    assert one(bought)["event"] == one(classic)["event"] == "Order Completed"
    money = ("order_id", "revenue", "currency")
    assert [one(bought)["properties"][name] for name in money] == ["A-77", Decimal("24.9"), "EUR"]
    assert [one(classic)["properties"][name] for name in money] == ["A-78", "13.50", "USD"]
    assert why(short) == ("wrong_type", "3 columns; at least 131")


def test_plain() -> None:
    bought, visit, dated, left, nobody, forged, untimed, broken = mapped("plain", "plain.jsonl")
    assert one(bought) == {
        "type": "track",
        "event": "Order Completed",
        "userId": "17",
        "timestamp": "2026-01-05T09:12:00.000Z",
        "properties": {"order_id": "A-1", "revenue": Decimal("24.90"), "currency": "EUR"},
        "messageId": one(bought)["messageId"],
    }
    assert len(one(bought)["messageId"]) == 32
    assert one(visit)["timestamp"] == "2026-01-05T09:12:00.123Z"
    assert (one(dated)["timestamp"], one(dated)["messageId"]) == ("2026-01-05T09:20:00+01:00", "own-id")
    assert one(left)["event"] == "Unsubscribed"
    assert one(left)["timestamp"] == "2026-01-05T09:23:20.000Z", "the record's own time"
    assert "userId" not in one(nobody)
    assert why(forged)[0] == "forged_control"
    assert why(untimed) == ("wrong_type", "timestamp: expected a time as any")
    assert why(broken)[0] == "malformed_json"


@pytest.mark.parametrize("path", READY, ids=lambda path: path.stem)
def test_what_a_ready_mapping_makes_passes_the_worker_s_own_checks(path: Path) -> None:
    admission = Admission(DEFAULT)
    [sample] = (ROOT / "tests" / "samples").glob(f"{path.stem}.*")
    events = [e for found in mapped(path.stem, sample.name) if isinstance(found, list) for e in found]
    refusals = []
    for event in events:
        if isinstance(event, dict):
            key = str(event.get("userId") or event.get("anonymousId") or "").encode()
            refusals.append(admission.refusal(key, encode_json(event), NOW))
    assert len(refusals) >= 3
    assert [r.reason for r in refusals if r] == (["bad_id"] if path.stem == "plain" else [])


def test_an_id_is_made_of_the_place_where_the_source_has_none() -> None:
    mapping = parse_mapping("version: 1\neach: items\nfields: {type: {value: track}, event: e, userId: u}\n")
    value = b'{"items": [{"u": "a", "e": "x"}, {"u": "a", "e": "x"}]}'

    def ids(origin: Origin) -> list[str]:
        found = mapping.map(value, origin)
        assert isinstance(found, list)
        return [event["messageId"] for event in found if isinstance(event, dict)]

    assert ids(ORIGIN) == ids(ORIGIN._replace(timestamp=None, key=None))
    made = {one for place in (ORIGIN, ORIGIN._replace(offset=1), ORIGIN._replace(partition=1)) for one in ids(place)}
    assert len(made | set(ids(ORIGIN._replace(topic="other")))) == 8


def test_of_several_events_a_bad_one_costs_only_itself() -> None:
    mapping = parse_mapping("version: 1\neach: items\nfields: {type: {value: track}, event: e, userId: u}\n")
    found = mapping.map(b'{"items": [{"u": "a", "e": "x"}, {"u": {}}, 3, {"u": "b", "e": "y"}]}', ORIGIN)
    assert isinstance(found, list)
    assert [e["userId"] if isinstance(e, dict) else e.message for e in found] == [
        "a",
        "event 1: userId: expected a text or a whole number",
        "event 2: an event must be an object",
        "b",
    ]


@pytest.mark.parametrize("kind", ["tick", "adopt", "hold", "pause", "domain"])
def test_nobody_outside_speaks_as_rekindle(kind: str) -> None:
    value = msgspec.json.encode({"type": kind, "userId": "ann", "time": 1})
    assert why(ready("segment").map(value, ORIGIN)) == ("forged_control", f"a control message ({kind}) from outside")


@pytest.mark.parametrize(
    ("form", "value", "expected"),
    [
        ("epoch_s", "1767604320", "2026-01-05T09:12:00.000Z"),
        ("epoch_s", "1767604320.25", "2026-01-05T09:12:00.250Z"),
        ("epoch_ms", '"1767604320123"', "2026-01-05T09:12:00.123Z"),
        ("any", "99999999999", "5138-11-16T09:46:39.000Z"),
        ("any", "100000000000", "1973-03-03T09:46:40.000Z"),
        ("any", '"2026-01-05 09:12:00"', "2026-01-05T09:12:00"),
        ("rfc3339", '"2026-01-05T09:12:00Z"', "2026-01-05T09:12:00Z"),
        ("rfc3339", "1767604320", None),
        ("epoch_s", '"yesterday"', None),
        ("epoch_ms", "-1", None),
        ("epoch_ms", "1e300", None),
        ("any", '"NaN"', "NaN"),  # left to the worker's check, which refuses it
    ],
)
def test_times(form: str, value: str, expected: str | None) -> None:
    mapping = parse_mapping(
        f"version: 1\nfields: {{type: {{value: page}}, userId: u, timestamp: {{path: t, time: {form}}}}}"
    )
    found = mapping.map(f'{{"u": "a", "t": {value}}}'.encode(), ORIGIN)
    assert isinstance(found, list)
    [event] = found
    assert (event["timestamp"] if isinstance(event, dict) else None) == expected


def test_key_and_time_of_the_record() -> None:
    text = "version: 1\nfields: {type: {value: page}, userId: {record: key}, timestamp: {path: t, record: timestamp}}"
    event = one(parse_mapping(text).map(b"{}", ORIGIN))
    assert (event["userId"], event["timestamp"]) == ("any key", "2026-01-05T09:23:20.000Z")
    assert "userId" not in one(parse_mapping(text).map(b"{}", ORIGIN._replace(key=b"\xff")))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "m.yaml:1: the mapping is empty"),
        ("version: 2\nfields: {type: {value: page}, userId: u}", "m.yaml:1: version: expected 1, not '2'"),
        ("version: 1\nfields: {type: {value: page}}", "m.yaml:2: who was it?"),
        ("version: 1\nfields: {userId: u}", "m.yaml:2: a mapping needs the field type"),
        ("version: 1\nfields:\n  userld: u", "m.yaml:3: an event has no field 'userld'"),
        ("version: 1\nfields:\n  userId: a..b", "m.yaml:3: userId: expected a path"),
        ("version: 1\nfields:\n  userId: {path: a, value: b}", "m.yaml:3: userId needs one of"),
        ("version: 1\nfields:\n  userId: {pth: a}", "m.yaml:3: unknown field 'pth'; did you mean 'path'?"),
        ("version: 1\nfields:\n  userId: {path: a, time: any}", "m.yaml:3: userId is no time"),
        ("version: 1\nformat: tsv\nfields: {type: {value: page}, userId: u}", "format tsv needs the names"),
        ("version: 1\nformat: tsv\ncolumns: [a]\nfields: {type: {value: page}, userId: u}", "there is no column 'u'"),
        ("version: 1\nskip: {path: a}\nfields: {type: {value: page}, userId: u}", "skip needs the field 'values'"),
        ("version: 1\nfields:\n  userId: u\n  userId: v", "m.yaml:4: 'userId' is given twice"),
        ("version: 1\nfields:\n  context.ip: ip", "m.yaml:3: an event has no field 'context.ip'"),
        ("version: 1\nfields:\n  a: &x u\n", "m.yaml:3: anchors and aliases"),
    ],
)
def test_a_wrong_mapping_is_told_its_line(text: str, problem: str) -> None:
    with pytest.raises(MappingError) as caught:
        parse_mapping(text, "m.yaml")
    assert problem in str(caught.value)


@pytest.mark.parametrize("text", ["", ".", "a.", ".a", "a..b", "a[", "a[b]", "a[b=]", "[=c]", "/", ".".join("a" * 17)])
def test_what_is_no_path(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the reader of the YAML says it with its line
        parse_path(text)


def test_paths() -> None:
    value = {"a": {"b": [{"k": "x/1", "v": 1}, {"k": "y/2", "v": 2}]}, "j": '{"c": [5]}', "e": "", "f": False}
    found = {
        "a.b.1.v": 2,
        "a.b[k=y/*].v": 2,
        "a.b[k=y/2].v": 2,
        "a.b[k=y].v": None,
        "a[b=x].b": None,
        "j.c.0": 5,
        "e": None,
        "e.x": None,
        "f": False,
        "a.b.7": None,
    }
    assert {path: parse_path(path).find(value, {}) for path in found} == found


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=12,
)
_names = st.sampled_from(
    ["type", "userId", "event", "batch", "traits", "context", "properties", "timestamp", "user", "ts"]
)


@given(st.dictionaries(_names, _json) | _json, st.binary(max_size=40))
def test_whatever_comes_is_mapped_or_refused_and_always_checkable(value: Any, raw: bytes) -> None:
    admission = Admission(DEFAULT)
    for name in ("segment", "plain", "snowplow"):
        for data in (msgspec.json.encode(value), raw):
            found = ready(name).map(data, ORIGIN)
            for event in found if isinstance(found, list) else ():
                if isinstance(event, dict):
                    body = encode_json(event)
                    assert len(body) < MAX_BYTES
                    admission.refusal(b"k", body, NOW)
