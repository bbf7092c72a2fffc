"""Every reason for a dead letter, by a record that has nothing else wrong with it."""

from typing import Any, get_args

import msgspec
import pytest

from schemas.control import CONTROL_HEADER, CONTROL_KEY
from schemas.deadletter import DeadLetterReason
from schemas.partitioner import partition_of
from tests.builders import Entry, at, event, fold, history, identify, log, now, order, played, tick

SKIP = {"skip/0/3": msgspec.json.encode({"partition": 0, "offset": 3, "reason": "a bug in 1.2"})}

CASES: list[tuple[str, Entry]] = [
    ("malformed_json", Entry(b"ann", b"{")),
    ("malformed_json", Entry(b"ann", b"\xff")),
    ("malformed_json", Entry(b"ann", b'{"traits": ' + b"[" * 100_000)),
    ("wrong_type", Entry(b"ann", b"[]")),
    ("wrong_type", event(at(0), id="x" * 257)),
    ("wrong_type", event(at(0), name=None)),
    ("wrong_type", event(at(0), timestamp="yesterday")),
    ("wrong_type", identify(at(0), consent="no")),
    ("wrong_type", order(at(0), revenue="a lot")),
    ("too_large", event(at(0), filler="x" * 1_000_000)),
    ("null_key", event(at(0))._replace(key=None)),
    ("tombstone", event(at(0))._replace(value=None)),
    ("tombstone", event(at(0))._replace(value=b"")),
    ("unknown_type", event(at(0), kind="visit")),
    ("unknown_version", event(at(0), schemaVersion=2)),
    ("unknown_version", event(at(0), schemaVersion=0)),
    ("bad_id", event(at(0), None, key=b"ann")),
    ("bad_id", event(at(0), "undefined")),
    ("bad_id", event(at(0), "  ")),
    ("bad_id", event(at(0), None, anonymous="0")),
    ("bad_id", event(at(0), None, anonymous="ann", kind="delete")),
    ("bad_id", event(at(0), None, anonymous="ann", kind="alias")),
    ("key_mismatch", event(at(0), key=b"bob")),
    ("key_mismatch", event(at(0), "ann", anonymous="bob", key=b"bob")),
    ("forged_control", Entry(CONTROL_KEY, b'{"type":"tick","time":0}')),
    ("forged_control", tick(at(0))._replace(key=b"ann")),
    ("forged_control", tick(at(0))._replace(headers=[(CONTROL_HEADER, b"tick")] * 2)),
    ("forged_control", now(at(0))),
    ("bad_control", Entry(CONTROL_KEY, b"{}", [(CONTROL_HEADER, b"tick")])),
    ("bad_control", tick(at(0))._replace(headers=[(CONTROL_HEADER, b"adopt")])),
    ("bad_control", tick(10**15)),
    ("bad_control", played()),
    ("time_in_future", event(at(0, 3))),
    ("absurd_time", event(0)),
    ("no_time", event(None)),
    ("too_late", event(at(-8))),
    ("negative_amount", order(at(0), revenue=-1)),
    ("absurd_amount", order(at(0), revenue=10**12)),
    ("absurd_amount", order(at(0), revenue="NaN")),
    ("unknown_currency", order(at(0), currency="ZZZ")),
    ("unknown_currency", order(at(0), currency="")),
    ("skipped", event(at(0))),
]


@pytest.mark.parametrize(("reason", "entry"), CASES, ids=[f"{n}-{reason}" for n, (reason, _) in enumerate(CASES)])
def test_a_dead_letter_says_why_and_whence(reason: str, entry: Entry) -> None:
    folded = fold(history(entry, event(at(0), "bob")), extra=SKIP if reason == "skipped" else None)
    assert folded.deadletters == [(3, reason)]
    [letter] = folded.outputs["deadletters"]
    headers = {name: value.decode() for name, value in letter.headers}
    assert headers["message"]
    assert (headers["topic"], headers["partition"], headers["offset"], headers["core"]) == ("users", "0", "3", "1")
    assert headers["time"] == str(entry.appended)
    assert letter.key == (entry.key or b"")
    assert letter.value == (entry.value or b"")[: 64 * 1024] or len(letter.value) < 1_000_000
    assert set(folded.users) == {"bob"}
    assert (folded.counts["rejected"], folded.counts["applied"]) == (1, 1)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (event(at(0), timestamp="secret"), "event: Invalid RFC3339 encoded datetime - at `$.timestamp`"),
        (event(at(0), userId=5, key=b"5"), "event: Expected `str | null`, got `int` - at `$.userId`"),
        (order(at(0), revenue="secret"), "properties: Invalid decimal string - at `$.revenue`"),
        (identify(at(0), consent={"secret": "no"}), "traits: Expected `bool`, got `str` - at `$.consent[...]`"),
        (
            event(at(0), kind="secret"),
            "event: Expected one of track, identify, page, screen, group, alias, delete - at `$.type`",
        ),
    ],
)
def test_a_dead_letter_says_what_was_expected_where_and_nothing_of_the_user(entry: Entry, message: str) -> None:
    [letter] = fold(history(entry)).outputs["deadletters"]
    assert dict(letter.headers)["message"].decode() == message
    assert "secret" not in message


def test_a_user_of_another_partition_is_refused() -> None:
    number = 1 - partition_of(b"ann", 2)
    folded = fold(history(event(at(0))), number=number, count=2)
    assert folded.deadletters == [(3, "wrong_partition")]


def test_every_reason_is_shown() -> None:
    elsewhere = {"foreign_delete", "undeliverable"}  # the core's neighbours: ingest and relay
    shown = {reason for reason, _ in CASES} | {"wrong_partition", "erased"}  # the last in test_erasure.py
    assert shown == set(get_args(DeadLetterReason)) - elsewhere


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"originalTimestamp": "2024-01-01T10:00:00Z"}, at(0, 10)),
        (
            {
                "originalTimestamp": "2024-01-01T10:00:00",
                "sentAt": "2024-01-01T10:05:00Z",
                "receivedAt": "2024-01-01T10:05:59Z",
            },
            at(0, 10),
        ),
        (
            {
                "originalTimestamp": "2024-01-01T09:00:00Z",
                "sentAt": "2024-01-01T09:05:00Z",
                "receivedAt": "2024-01-01T10:05:00Z",
            },
            at(0, 10),
        ),
        ({"receivedAt": "2024-01-01T11:00:00+01:00", "sentAt": "2024-01-01T09:00:00Z"}, at(0, 10)),
        ({"sentAt": "2024-01-01T10:00:00Z"}, at(0, 10)),
        ({}, at(0, 11)),
    ],
)
def test_when_an_event_happened(fields: dict[str, Any], expected: int) -> None:
    folded = fold(log(now(at(0, 11)), event(None, appended=at(0, 11), **fields)))
    assert folded.users["ann"].activity.last == expected


@pytest.mark.parametrize("name", ["Email Delivered", "Message Sent", "Unsubscribed"])
def test_what_systems_report_is_no_activity(name: str) -> None:
    folded = fold(history(event(at(0)), event(at(0, 1), name=name, source="google")))
    assert folded.users["ann"].activity.last == at(0)
    assert folded.users["ann"].journey.touches == 0


@pytest.mark.parametrize(
    ("properties", "revenue"),
    [
        ({"revenue": 25}, 2500),
        ({"revenue": "25.00", "total": 99}, 2500),
        ({"total": 19.99}, 1999),
        ({"value": 0.1, "currency": "usd"}, 10),
        ({"value": 25, "currency": None}, 2500),
        ({}, 0),
        (None, 0),
    ],
)
def test_what_an_order_is_worth(properties: dict[str, Any] | None, revenue: int) -> None:
    more: dict[str, Any] = {} if properties is None else {"properties": properties}
    folded = fold(history(event(at(0), name="Order Completed", **more)))
    [(_, cell)] = [(k, c) for k, c in folded.cells.items() if k[0] == "channels"]
    assert (cell[4], cell[5]) == (1, revenue)
