"""The relay without Kafka: the ledger, the pace, signatures, and a courier before a real HTTP server."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from standardwebhooks import Webhook

from agents.edge import RelayMetrics
from agents.exits import Refusal
from agents.relay.courier import Courier, Outcome, Pace, decode_trigger
from agents.relay.erasures import Erasures
from agents.relay.ledger import WINDOW, Ledger
from agents.relay.target import Answer, make_target
from pipeline.erasure import Marks, mark_name
from pipeline.outbox import Outbox
from tests.builders import at, event, fold, history, tick, ticks

KEY = b"0123456789abcdef01234567"
ERASURE_KEY = b"the key of erasures"
SECRET = "whsec_" + base64.b64encode(KEY).decode()


class Record(NamedTuple):
    offset: int
    key: bytes
    value: bytes
    topic: str = "triggers"
    partition: int = 0
    timestamp: int = 1
    headers: Sequence[tuple[str, bytes]] = ()


def trigger(user: str = "ann", offset: int = 0, *, expires: timedelta = timedelta(hours=1)) -> Record:
    """A real trigger of the core, but for its expiry."""
    folded = fold(history(event(at(0), user), tick(at(31))))
    body = folded.triggers[0]
    body["id"] = f"{user}-{offset}"
    body["data"]["expires_at"] = (datetime.now(UTC) + expires).isoformat()
    return Record(offset, user.encode(), json.dumps(body).encode())


# ---- the ledger


@given(st.lists(st.integers(0, 40), unique=True, max_size=40), st.data())
def test_whatever_ends_first_a_restart_begins_exactly_what_had_not_ended(gaps: list[int], data: st.DataObject) -> None:
    offsets = [offset for offset in range(100, 140) if offset - 100 not in gaps]  # markers take offsets, too
    ledger = Ledger(100)
    assert all(ledger.begin(offset) for offset in offsets)
    ended = data.draw(st.lists(st.sampled_from(offsets), unique=True)) if offsets else []
    for offset in ended:
        ledger.end(offset)
    head, note = ledger.position() or (0, "")
    assert head == min(set(offsets) - set(ended), default=offsets[-1] + 1 if offsets else 100)
    ledger.committed((head, note))
    assert ledger.position() is None
    again = Ledger(head, note)
    assert again.position() is None
    assert [o for o in offsets if o >= head and again.begin(o)] == [o for o in offsets if o not in ended]


def test_a_ledger_is_full_while_its_note_still_fits_into_a_commit() -> None:
    ledger = Ledger(0, "of somebody else")
    begun = 0
    while not ledger.full:
        assert ledger.begin(begun)
        if begun:
            ledger.end(begun)
        begun += 1
    assert begun == WINDOW
    position = ledger.position()
    assert position is not None
    assert (position[0], len(position[1]) < 4_000) == (0, True)
    ledger.end(0)
    assert (ledger.full, ledger.position()) == (False, (WINDOW, ""))


def test_a_group_that_knows_nothing_learns_where_it_begins() -> None:
    assert Ledger(7).position() == (7, "")
    assert Ledger(7, "").position() is None


def test_the_pace_doubles_to_its_limit_and_heeds_the_receiver() -> None:
    pace = Pace(1.0, 60.0)
    waits = [pace.wait(failures, Answer(503, 0.0)) for failures in (1, 2, 3, 4, 30, 5_000)]
    for wait, full in zip(waits, (1, 2, 4, 8, 60, 60), strict=True):
        assert full / 2 <= wait <= full
    assert pace.wait(1, Answer(429, 0.0, wait=120.0)) == 120.0


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        *((status, "taken") for status in (200, 202, 204)),
        *((status, "refused") for status in (400, 413, 422)),
        *((status, "later") for status in (None, 302, 401, 403, 404, 408, 409, 410, 425, 429, 500, 503)),
    ],
)
def test_what_an_answer_means(status: int | None, verdict: str) -> None:
    assert Answer(status, 0.0).verdict == verdict


# ---- a courier before a real HTTP server

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def server(handler: Handler) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/hook", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    finally:
        await runner.cleanup()


class Run(NamedTuple):
    courier: Courier
    outcomes: list[Outcome]

    async def finished(self, count: int, seconds: float = 10.0) -> list[Outcome]:
        async with asyncio.timeout(seconds):
            while len(self.outcomes) < count:  # noqa: ASYNC110 - a test may look
                await asyncio.sleep(0.01)
        return self.outcomes


@asynccontextmanager
async def running(
    url: str, tmp_path: Path, *, form: str = "webhook", at_once: int = 4, erasures: Erasures | None = None
) -> AsyncIterator[Run]:
    secret = tmp_path / "secret"
    secret.write_text(f"{SECRET}\n" if form == "webhook" else "write-key\n")
    outcomes: list[Outcome] = []

    async def write(outcome: Outcome) -> None:
        outcomes.append(outcome)

    def fail(error: BaseException) -> None:
        raise error

    async with make_target(url, form, secret) as target:
        courier = Courier(
            Ledger(0),
            target=target,
            erased=(erasures or Erasures(ERASURE_KEY)).mark_of,
            write=write,
            gate=asyncio.Semaphore(at_once),
            pace=Pace(0.02, 0.1),
            metrics=RelayMetrics(CollectorRegistry()),
            fail=fail,
        )
        yield Run(courier, outcomes)
        await courier.leave()


async def test_a_signed_webhook_is_what_the_specification_asks_for(tmp_path: Path) -> None:
    seen: list[tuple[dict[str, str], bytes]] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append((dict(request.headers), await request.read()))
        return web.Response(status=204)

    record = trigger()
    async with server(handler) as url, running(url, tmp_path) as run:
        run.courier.take(record)
        [outcome] = await run.finished(1)
    assert outcome.kind == "sent"
    [(headers, body)] = seen
    told = {name.lower(): text for name, text in headers.items()}
    assert body == record.value
    assert told["webhook-id"] == "ann-0"
    signed = f"ann-0.{told['webhook-timestamp']}.".encode() + body
    digest = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
    assert told["webhook-signature"] == f"v1,{digest}"
    assert Webhook(SECRET).verify(body, told)["type"] == "rekindle.trigger.v1"
    assert told["content-type"] == "application/cloudevents+json; charset=utf-8"
    assert run.courier.ledger.position() == (1, "")


async def test_two_secrets_sign_twice_while_one_is_replaced(tmp_path: Path) -> None:
    other = "whsec_" + base64.b64encode(b"another key of 24 bytes.").decode()
    (tmp_path / "two").write_text(f"{other}\n{SECRET}\n")
    target = make_target("http://127.0.0.1/", "webhook", tmp_path / "two")
    record = trigger()
    request = target._form.request(decode_trigger(record.value), record.value, datetime.now(UTC))
    for secret in (other, SECRET):
        Webhook(secret).verify(request.body, request.headers)


async def test_segment_gets_a_track_call_that_is_no_activity(tmp_path: Path) -> None:
    seen: list[tuple[str, Any]] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append((request.headers["authorization"], await request.json()))
        return web.json_response({"success": True})

    async with server(handler) as url, running(url, tmp_path, form="segment") as run:
        run.courier.take(trigger())
        await run.finished(1)
    [(authorization, call)] = seen
    assert base64.b64decode(authorization.removeprefix("Basic ")) == b"write-key:"
    assert (call["messageId"], call["userId"], call["event"]) == ("ann-0", "ann", "Recall Triggered")
    assert call["context"]["active"] is False
    assert call["properties"]["template_id"] == "come-back"


async def test_a_flaky_receiver_gets_it_again_and_a_user_s_triggers_in_their_order(tmp_path: Path) -> None:
    taken: dict[str, list[str]] = {}
    attempts: dict[str, int] = {}
    under_way = most = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        try:
            body = await request.json()
            attempts[body["id"]] = attempts.get(body["id"], 0) + 1
            await asyncio.sleep(0.01)
            if attempts[body["id"]] == 1:
                return web.Response(status=500)
            if attempts[body["id"]] == 2:
                assert request.transport is not None
                request.transport.abort()  # no answer at all
            if attempts[body["id"]] == 3:
                return web.Response(status=503, headers={"retry-after": "0"})
            taken.setdefault(body["subject"], []).append(body["id"])
            return web.Response()
        finally:
            under_way -= 1

    records = [trigger(f"u{n % 5}", n) for n in range(20)]
    async with server(handler) as url, running(url, tmp_path) as run:
        for record in records:
            run.courier.take(record)
        outcomes = await run.finished(20, 30)
    assert {outcome.kind for outcome in outcomes} == {"sent"}
    # The second attempt was taken, but its answer was lost: a receiver passes over an id that it knows.
    orders = {user: list(dict.fromkeys(ids)) for user, ids in taken.items()}
    assert orders == {f"u{user}": [f"u{user}-{n}" for n in range(user, 20, 5)] for user in range(5)}
    assert set(attempts.values()) == {4}
    assert most <= 4
    assert run.courier.ledger.position() == (20, "")


async def test_one_who_is_not_taken_holds_up_nobody_else_and_expires(tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=500 if (await request.json())["subject"] == "stuck" else 200)

    async with server(handler) as url, running(url, tmp_path) as run:
        run.courier.take(trigger("stuck", 0, expires=timedelta(seconds=1)))
        for n in range(1, 6):
            run.courier.take(trigger(f"u{n}", n))
        await run.finished(5)
        assert {outcome.kind for outcome in run.outcomes} == {"sent"}
        position = run.courier.ledger.position()
        assert position is not None
        assert position[0] == 0
        assert not any(Ledger(*position).begin(n) for n in range(1, 6)), "a restart hands them over once more"
        outcomes = await run.finished(6)
    assert outcomes[-1].kind == "expired"
    assert "attempts; the last: HTTP 500" in outcomes[-1].why


async def test_refused_expired_before_and_unreadable_end_at_once(tmp_path: Path) -> None:
    calls = 0

    async def handler(request: web.Request) -> web.Response:
        nonlocal calls
        calls += 1
        return web.Response(status=422)

    async with server(handler) as url, running(url, tmp_path) as run:
        run.courier.take(trigger("a", 0))
        run.courier.take(trigger("b", 1, expires=timedelta(seconds=-1)))
        run.courier.take(Record(2, b"c", b"{oops"))
        outcomes = {outcome.record.offset: outcome for outcome in await run.finished(3)}
    assert calls == 1
    assert [(outcomes[n].kind, outcomes[n].why) for n in range(3)] == [
        ("refused", "HTTP 422 after 1 attempts"),
        ("expired", "it was read after it had expired"),
        ("refused", "no trigger that this release can read"),
    ]
    assert outcomes[2].trigger is None


async def test_leaving_waits_for_the_request_under_way_and_leaves_the_rest(tmp_path: Path) -> None:
    arrived = asyncio.Event()

    async def handler(request: web.Request) -> web.Response:
        arrived.set()
        await asyncio.sleep(0.3)
        return web.Response()

    async with server(handler) as url, running(url, tmp_path, at_once=1) as run:
        for n in range(3):
            run.courier.take(trigger("ann", n))
        await arrived.wait()
        await run.courier.leave()
        assert [outcome.record.offset for outcome in run.outcomes] == [0]
        assert run.courier.ledger.position() == (1, "")


# ---- erasures


def erased(user: str, offset: int, key: bytes = ERASURE_KEY) -> Record:
    """A certificate of the core."""
    marked = Marks(key).erase(user.encode(), at(40), offset, at(40))
    outbox = Outbox("users", 0)
    outbox.erasure(marked, at(40))
    [certificate] = outbox.take()["erasures"]
    return Record(0, certificate.key, certificate.value, "erasures")


def test_a_trigger_is_of_before_or_after_an_erasure_by_the_log() -> None:
    live = [event(at(0)), ticks(at(0), at(31)), event(at(31), kind="delete"), tick(at(32))]
    live += [event(at(32)), ticks(at(33), at(70))]
    folded = fold(history(*live))
    first, second = (Record(n, t.key, t.value, headers=t.headers) for n, t in enumerate(folded.outputs["triggers"]))
    [certificate] = folded.messages("erasures")
    offset = certificate["data"]["offset"]
    assert int(dict(first.headers)["rekindle-offset"]) < offset < int(dict(second.headers)["rekindle-offset"])
    erasures = Erasures(ERASURE_KEY)
    assert erasures.mark_of(first) is None
    erasures.take([erased("ann", offset), Record(1, b"", b"{oops"), erased("ann", 3), erased("bob", 10**6)])
    assert erasures.mark_of(first) == mark_name(b"ann", ERASURE_KEY).hex()
    assert erasures.mark_of(second) is None, "they have signed up again since"
    assert erasures.mark_of(first._replace(headers=())) is not None, "what does not tell is of before"
    assert erasures.mark_of(first._replace(key=b"eve")) is None
    other = Erasures(b"another key of erasures")
    other.take([erased("ann", offset)])
    assert other.mark_of(first) is None


async def test_whose_user_is_erased_is_not_tried_again_and_others_are(tmp_path: Path) -> None:
    erasures = Erasures(ERASURE_KEY)
    tried: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        user = (await request.json())["subject"]
        tried.append(user)
        if tried.count("ann") == 3 and user == "ann":
            erasures.take([erased("ann", 5)])
        return web.Response(status=500 if user == "ann" else 200)

    async with server(handler) as url, running(url, tmp_path, erasures=erasures) as run:
        for n, user in enumerate(("ann", "ann", "bob")):
            run.courier.take(trigger(user, n))
        await run.finished(3)
        run.courier.take(trigger("ann", 3))
        outcomes = {outcome.record.offset: outcome for outcome in await run.finished(4)}
    assert tried.count("ann") == 3
    mark = mark_name(b"ann", ERASURE_KEY).hex()
    assert [(outcomes[n].kind, outcomes[n].mark) for n in range(4)] == [
        ("erased", mark),
        ("erased", mark),
        ("sent", None),
        ("erased", mark),
    ]
    assert run.courier.ledger.position() == (4, "")


async def test_what_was_under_way_in_the_erasure_is_done_and_known_as_such(tmp_path: Path) -> None:
    erasures = Erasures(ERASURE_KEY)

    async def handler(_: web.Request) -> web.Response:
        erasures.take([erased("ann", 5)])
        return web.Response()

    async with server(handler) as url, running(url, tmp_path, erasures=erasures) as run:
        run.courier.take(trigger())
        [outcome] = await run.finished(1)
    assert (outcome.kind, outcome.mark) == ("sent", mark_name(b"ann", ERASURE_KEY).hex())


@pytest.mark.parametrize(
    ("url", "form", "secret", "line"),
    [
        ("ftp://x/", "webhook", SECRET, "no http"),
        ("http:///x", "webhook", SECRET, "no http"),
        ("http://x/", "webhook", "", "is empty"),
        ("http://x/", "webhook", "whsec_!", "no webhook secret"),
    ],
)
def test_what_can_t_be_used_is_said(url: str, form: str, secret: str, line: str, tmp_path: Path) -> None:
    (tmp_path / "s").write_text(secret)
    with pytest.raises(Refusal) as caught:
        make_target(url, form, tmp_path / "s")
    assert line in caught.value.line
