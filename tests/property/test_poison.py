"""Whatever bytes come: never an exception, each costs one message, and time doesn't move."""

import json
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import Entry, Folded, at, event, fold, iso, log, now, played, tick

# After the JSONTestSuite's kinds: what a parser must refuse, and what parsers disagree on.
NOT_JSON: Final = (
    *(
        b"",
        b" ",
        b"{",
        b"}",
        b"[",
        b'"',
        b"nul",
        b"tru",
        b"NaN",
        b"-Infinity",
        b"{]",
        b"[}",
        b'{"a"',
        b'{"a":',
        b'{"a":1,}',
        b"[1,]",
    ),
    *(
        b"{'a':1}",
        b"{a:1}",
        b'{"a" 1}',
        b'{"a":1 "b":2}',
        b"[01]",
        b"[+1]",
        b"[1.]",
        b"[.5]",
        b"[1e]",
        b"[0x1]",
        b"[1_000]",
    ),
    *(
        b'["\\x"]',
        b'["\\u00"]',
        b'["\\uD800"]',
        b'["\\uDC00\\uD800"]',
        b'["a\nb"]',
        b'["\x00"]',
        b'{"a":1}{"b":2}',
        b'{"a":1} x',
    ),
    *(
        b"\xff",
        b"\xef\xbb\xbf{}",
        b'{"\xc3":1}',
        b'["\xed\xa0\x80"]',
        b'["\xf5\x80\x80\x80"]',
        b"\x00",
        b"\x1f\x8b\x08",
        b"/* */{}",
    ),
)
NO_EVENT: Final = (
    *(b"null", b"true", b"0", b"-0", b"1e400", b'"text"', b"[]", b"{}", b"[[[]]]", b'{"": ""}', b'{"messageId": null}'),
    *(
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"[" * 5_000 + b"]" * 5_000,
        b"1" * 10_000,
        b'{"messageId": ' + b"9" * 5_000 + b"}",
    ),
)
NAUGHTY: Final = (
    *(
        "<script>alert(1)</script>",
        "' OR 1=1 --",
        "../../etc/passwd",
        "%s%n%x",
        "$(id)",
        "{{7*7}}",
        "\\u0000",
        "\x00",
        "\x1f",
        "\u202e",
    ),
    *(
        "\ufeff",
        "ﷺ" * 30,
        "👩‍👩‍👧‍👦",
        "Ω≈ç√∫",
        "田中さん",
        "\u0085\u2028",
        "a" * 256,
        "true",
        "NaN",
        "-1",
        "1e400",
        "rekindle.control",
    ),
)
FIELDS: Final[tuple[bytes, ...]] = (
    *(
        b'"properties": ' + v
        for v in (b"NaN", b'{"revenue": 1e999999}', b'{"revenue": "NaN"}', b'{"revenue": -1}', b'{"revenue": [1]}')
    ),
    *(
        b'"properties": ' + v
        for v in (b'{"revenue": 1e400}', b'{"revenue": "1e9999999999"}', b'{"currency": "\\ud800"}', b"[" * 20_000)
    ),
    *(
        b'"properties": {"revenue": %s}' % v
        for v in (b"1" * 400, b"0." + b"1" * 400, b'"Infinity"', b'"-0"', b"1e-400", b"9007199254740993")
    ),
    *(
        b'"timestamp": ' + v
        for v in (b"0", b'""', b'"yesterday"', b'"0001-01-01T00:00:00+14:00"', b'"9999-12-31T23:59:59-14:00"')
    ),
    *(
        b'"timestamp": ' + v
        for v in (b'"-0001-01-01T00:00:00Z"', b'"2024-02-30T00:00:00Z"', b'"2124-01-01T00:00:00Z"', b"null", b"1e18")
    ),
    *(
        b'"context": ' + v
        for v in (b"7", b"[]", b'{"campaign": 7}', b'{"page": {"referrer": "http://[::1"}}', b'{"backfill": "yes"}')
    ),
    *(b'"schemaVersion": ' + v for v in (b"0", b"-1", b"2", b"1e3", b"99999999999999999999", b'"1"')),
    *(b'"userId": ' + v for v in (b'"null"', b"7", b'""', b'" "', b'["u"]', b'"\\u0000"', b'"' + b"u" * 257 + b'"')),
    *(
        b'"type": ' + v
        for v in (b'"visit"', b"null", b"1", b'"TRACK"', b'"delete"', b'"alias"', b'"identify", "traits": 7')
    ),
)


def costs_one_message(*entries: Entry) -> Folded:
    """Fold them between two good events, played and live."""
    folded = None
    for live in (False, True):
        start = [now(at(0))] if live else [played(), tick(at(0))]
        records = log(
            start,
            event(at(0), "good", id="first"),
            list(entries),
            event(at(0), "good", id="last"),
            now(at(1)) if live else tick(at(1)),
        )
        folded = fold(records)
        counts = folded.counts
        assert counts["read"] + counts["control"] == len(records)
        assert counts["read"] == counts["applied"] + counts["duplicate"] + counts["rejected"]
        assert folded.users["good"].activity.last_id == "last"
        assert folded.partition.position.horizon == at(1)
    assert folded is not None
    return folded


@pytest.mark.parametrize("value", [*NOT_JSON, *NO_EVENT], ids=lambda value: repr(value[:24]))
def test_what_is_no_event_is_one_dead_letter(value: bytes) -> None:
    folded = costs_one_message(Entry(b"u", value, (), at(0)))
    reasons = [reason for _, reason in folded.deadletters]
    assert reasons in (["malformed_json"], ["wrong_type"]) or (reasons == ["tombstone"] and not value)
    assert folded.outputs["deadletters"][0].value == value


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: repr(field[:48]))
def test_a_hostile_field_costs_at_most_its_event(field: bytes) -> None:
    name = b"Order Completed" if field.startswith(b'"properties"') else b"Viewed"
    value = b'{"messageId": "m", "type": "track", "event": "%s", "userId": "u", "timestamp": "%s", %s}'
    costs_one_message(Entry(b"u", value % (name, iso(at(0)).encode(), field), (), at(0)))


@pytest.mark.parametrize("text", NAUGHTY)
def test_a_naughty_string_is_just_a_string(text: str) -> None:
    folded = costs_one_message(
        event(at(0), text[:256], id="m", source=text), event(at(0), "u", text[:256], id=text[:256])
    )
    hopeless = not text.strip() or text in ("NaN", "rekindle.control")
    assert folded.counts["rejected"] == hopeless


def test_of_a_duplicated_key_the_last_one_counts() -> None:
    value = b'{"messageId": "m", "type": "track", "event": "A", "userId": "x", "userId": "u", "timestamp": "%s"}'
    folded = costs_one_message(Entry(b"u", value % iso(at(0)).encode(), (), at(0)))
    assert set(folded.users) == {"good", "u"}


@pytest.mark.parametrize("size", [999_999, 1_000_000, 5_000_000])
def test_a_megabyte_is_too_large_and_its_dead_letter_is_cut(size: int) -> None:
    value = b'{"messageId": "m", "type": "page", "userId": "u", "timestamp": "%s", "filler": "' % iso(at(0)).encode()
    folded = costs_one_message(Entry(b"u", value + b"x" * (size - len(value) - 2) + b'"}', (), at(0)))
    if size < 1_000_000:
        assert "u" in folded.users
    else:
        [letter] = folded.outputs["deadletters"]
        assert len(letter.value) == 64 * 1024
        assert len(dict(letter.headers)["sha256"]) == 64


def test_dead_letters_name_no_user_and_no_value() -> None:
    canary = "canary-7f3a"
    bad = [
        event(at(0), canary, schemaVersion=9),
        event(at(0), canary, key=b"other"),
        event(at(0), canary, "Order Completed", properties={"revenue": canary}),
        event(at(0), canary, "Order Completed", properties={"revenue": 1, "currency": canary}),
        event(at(0), canary, kind=canary),
        event(at(0), canary, kind="identify", traits={"consent": canary}),
        event(at(0), canary, timestamp=canary),
        event(at(0), canary, context={"campaign": canary}),
    ]
    folded = costs_one_message(*bad)
    assert len(folded.deadletters) == len(bad)
    for letter in folded.outputs["deadletters"]:
        assert canary.encode() not in b"".join(value for name, value in letter.headers)


_json: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
_event_fields = (
    "messageId",
    "type",
    "event",
    "userId",
    "timestamp",
    "context",
    "properties",
    "traits",
    "schemaVersion",
    "sentAt",
)


@given(
    st.lists(st.tuples(st.none() | st.binary(max_size=12), st.none() | st.binary(max_size=80)), min_size=1, max_size=8)
)
def test_random_bytes(pairs: list[tuple[bytes | None, bytes | None]]) -> None:
    costs_one_message(*(Entry(key, value, (), at(0)) for key, value in pairs))


@given(
    st.dictionaries(st.sampled_from(_event_fields), _json, max_size=6), st.sampled_from(("track", "identify", "page"))
)
def test_random_json_in_place_of_fields(fields: dict[str, Any], kind: str) -> None:
    whole = {
        "messageId": "m",
        "type": kind,
        "event": "Order Completed",
        "userId": "u",
        "timestamp": iso(at(0)),
        **fields,
    }
    costs_one_message(Entry(b"u", json.dumps(whole).encode(), (), at(0)))


@given(
    st.binary(max_size=60),
    st.lists(st.tuples(st.sampled_from(("rekindle-control", "x")), st.binary(max_size=6)), max_size=3),
)
def test_random_control_messages(value: bytes, headers: list[tuple[str, bytes]]) -> None:
    costs_one_message(Entry(b"rekindle.control", value, headers, at(0)))


@pytest.mark.parametrize("time", [-(10**15), 0, 10**15, 2**62])
def test_an_absurd_tick_is_a_dead_letter(time: int) -> None:
    folded = fold(log(played(), tick(at(0)), event(at(0)), tick(time), event(at(0), id="after")))
    assert folded.deadletters == [(3, "bad_control")]
    assert folded.partition.position.horizon == at(0)
