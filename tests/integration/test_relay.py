"""`rekindle relay` between a real Kafka and a real HTTP server: flaky, refusing, away; killed, and restarted."""

import base64
import json
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import sleep
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from agents.exits import Exit
from agents.local import LocalKafka
from schemas.partitioner import partition_of
from tests.integration.edge import Deployment
from tests.waiting import PATIENCE, eventually

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()

Answer = Callable[[dict[str, Any], int], int]
"""Trigger, which attempt this is (from 1) -> HTTP status."""


class Receiver:
    """A real HTTP server that verifies what it gets, and keeps it by id."""

    def __init__(self, answer: Answer, port: int = 0) -> None:
        self.attempts: Counter[str] = Counter()
        self.taken: Counter[str] = Counter()
        self.order: dict[str, list[str]] = {}
        self.unsigned = 0
        lock = threading.Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                try:
                    message = Webhook(SECRET).verify(body, dict(self.headers))
                except WebhookVerificationError:
                    receiver.unsigned += 1
                    message = {"id": "unsigned", "subject": ""}
                with lock:
                    receiver.attempts[message["id"]] += 1
                    number = receiver.attempts[message["id"]]
                status = answer(message, number)
                with lock:
                    if status < 300:
                        receiver.taken[message["id"]] += 1
                        receiver.order.setdefault(message["subject"], []).append(message["id"])
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_: Any) -> None:
                """Quiet: a relay that is killed resets its connections."""

        self.server = Server(("127.0.0.1", port), Handler)
        self.port = self.server.server_port
        self.url = f"http://127.0.0.1:{self.port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@contextmanager
def receiving(answer: Answer, port: int = 0) -> Iterator[Receiver]:
    receiver = Receiver(answer, port)
    try:
        yield receiver
    finally:
        receiver.close()


pytestmark = pytest.mark.no_oracle("its triggers come from no log")


@pytest.fixture
def shop(kafka: LocalKafka, prefix: str, tmp_path: Path) -> Deployment:
    """A deployment of 4 partitions."""
    deployment = Deployment(kafka.bootstrap, prefix, tmp_path)
    deployment("topics", "create", "--partitions", "4")
    (tmp_path / "secret").write_text(SECRET + "\n")
    return deployment


def relay(shop: Deployment, url: str, *more: str) -> Any:
    pace = ("--first-retry", "0.05", "--longest-retry", "0.3")
    return shop.start("relay", "--to", url, "--secret-file", shop.folder / "secret", *pace, *more)


def stop(shop: Deployment, process: Any) -> None:
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 0, shop.said("relay")


def test_a_flaky_receiver_gets_everything_in_order_and_each_is_reported_back(shop: Deployment) -> None:
    def answer(message: dict[str, Any], number: int) -> int:
        if number == 1 and int(message["id"][1:]) % 3 == 0:
            return (500, 503, 429, 404)[int(message["id"][1:]) % 4]
        if int(message["id"][1:]) % 10 == 1:
            sleep(0.2)
        return 200

    ids = shop.publish(200)
    with receiving(answer) as receiver:
        process = relay(shop, receiver.url)
        eventually(lambda: len(receiver.taken) == 200)
        eventually(lambda: len(shop.told()) == 200)
        stop(shop, process)
        assert receiver.unsigned == 0
        assert receiver.taken == Counter(ids)
        order = {f"user-{user}": [f"t{n}" for n in range(user, 200, 50)] for user in range(50)}
        assert receiver.order == order
        assert shop.told() == Counter((name, "Message Sent") for name in ids)
        records = shop.read(shop.settings.topic("users"))
        assert all(record.partition == partition_of(record.key, 4) for record in records)
        # Started again it repeats nothing.
        process = relay(shop, receiver.url)
        more = shop.publish(20, start=200)
        eventually(lambda: len(receiver.taken) == 220)
        stop(shop, process)
        assert receiver.taken == Counter(ids + more)


@pytest.mark.faults
def test_kills_lose_nothing_and_repeat_only_what_was_under_way(shop: Deployment) -> None:
    ids = shop.publish(600, users=200)
    kills, most = 4, 100
    room = threading.Semaphore(0)  # so that there is something left to do after each kill, however late it comes

    def answer(message: dict[str, Any], number: int) -> int:
        sleep(0.15)
        if number == 1:
            room.acquire()
        return 200

    with receiving(answer) as receiver:
        for turn in range(kills):
            room.release(most)
            process = relay(shop, receiver.url)
            eventually(lambda wanted=(turn + 1) * most: len(receiver.taken) >= wanted)  # type: ignore[misc]
            process.kill()
            process.wait()
            sleep(0.1 * turn)
        room.release(600)
        process = relay(shop, receiver.url)
        eventually(lambda: len(shop.told()) == 600)
        stop(shop, process)
        assert set(receiver.taken) == set(ids)
        # What came between two commits (0.5 s), of at most 16 at once, 150 ms each; without any it would be 1,000.
        assert sum(receiver.taken.values()) - 600 < kills * 150
        assert set(shop.told()) == {(name, "Message Sent") for name in ids}


@pytest.mark.faults
def test_one_that_stays_stuck_is_not_repeated_with_those_behind_it_and_expires_as_a_dead_letter(
    shop: Deployment,
) -> None:
    stuck = shop.publish(1, users=1, seconds=14)
    partition = partition_of(b"user-0", 4)
    with receiving(lambda message, _: 503 if message["id"] in stuck else 200) as receiver:
        process = relay(shop, receiver.url)
        ids = shop.publish(300, users=100, start=1)
        eventually(lambda: len(shop.told()) == len([n for n in range(1, 301) if n % 100]))
        sleep(1.2)  # a commit
        before = sum(receiver.taken.values())
        process.kill()
        process.wait()
        process = relay(shop, receiver.url)
        attempts = receiver.attempts["t0"]
        eventually(lambda: receiver.attempts["t0"] > attempts + 2)
        assert sum(receiver.taken.values()) == before, "the note in the group's offset tells who was done"
        eventually(lambda: len(shop.told()) == 301)
        stop(shop, process)
        assert receiver.taken == Counter(ids)
        assert shop.told()["t0", "Message Failed"] == 1
    [letter] = shop.read(shop.settings.topic("deadletters"))
    headers = {name: text.decode() for name, text in letter.headers}
    assert (headers["reason"], headers["stage"], headers["topic"]) == (
        "undeliverable",
        "relay",
        shop.settings.topic("triggers"),
    )
    assert (letter.partition, int(headers["partition"]), letter.key) == (partition, partition, b"user-0")
    assert "the last: HTTP 503" in headers["message"]
    assert json.loads(letter.value)["id"] == "t0"
    assert shop.json("deadletters", "list")["reasons"] == {"undeliverable": 1}
    assert shop.json("deadletters", "replay")["sent"] == 0


@pytest.mark.faults
def test_a_receiver_that_is_away_is_waited_for_and_two_relays_share_the_work(shop: Deployment) -> None:
    with receiving(lambda *_: 200) as receiver:
        port = receiver.port
    first = relay(shop, f"http://127.0.0.1:{port}/hook")
    ids = shop.publish(100)
    sleep(4)
    assert first.poll() is None
    second = relay(shop, f"http://127.0.0.1:{port}/hook")
    with receiving(lambda *_: 200, port) as receiver:
        eventually(lambda: len(shop.told()) == 100)
        stop(shop, first)
        more = shop.publish(40, start=100)
        eventually(lambda: len(shop.told()) == 140)
        stop(shop, second)
        assert set(receiver.taken) == set(ids + more)


def test_what_is_refused_ends_at_once(shop: Deployment) -> None:
    shop.publish(3, users=3)
    shop.publish(1, start=3, seconds=-5)
    with receiving(lambda message, _: 422 if message["id"] == "t1" else 200) as receiver:
        process = relay(shop, receiver.url)
        eventually(lambda: len(shop.told()) == 4)
        stop(shop, process)
        assert receiver.attempts == Counter({"t0": 1, "t1": 1, "t2": 1})
    assert sorted(shop.told()) == [
        *(("t0", "Message Sent"), ("t1", "Message Failed"), ("t2", "Message Sent"), ("t3", "Message Failed")),
    ]
    reasons = {event["properties"]["trigger_id"]: event["properties"].get("reason") for event in shop.events()}
    assert reasons["t1"] == "refused: HTTP 422 after 1 attempts"
    assert reasons["t3"] == "expired: it was read after it had expired"


def test_usage(shop: Deployment, tmp_path: Path) -> None:
    assert relay(shop, "mailto:x@example.org").wait(PATIENCE) == Exit.USAGE
    assert "mailto:x@example.org is no http(s) address" in shop.said("relay")
    (tmp_path / "secret").write_text("")
    assert relay(shop, "http://127.0.0.1:1/").wait(PATIENCE) == Exit.USAGE
    assert "is empty: it has to hold the secret" in shop.said("relay")


def test_whoever_is_erased_meanwhile_gets_nothing_more_and_is_not_named_again(shop: Deployment) -> None:
    worker = shop.start("worker")
    shop.publish(40, users=4)
    with receiving(lambda message, _: 503 if message["subject"] == "user-0" else 200) as receiver:
        process = relay(shop, receiver.url)
        eventually(lambda: len(receiver.taken) == 30 and receiver.attempts["t0"] > 1)
        mark = shop.json("erase", "user-0")["mark"]
        eventually(lambda: len(shop.read(shop.settings.topic("deadletters"))) == 10)
        attempts = receiver.attempts.copy()
        assert set(receiver.attempts) == {"t0", *receiver.taken}, "those behind it were not even tried"
        stop(shop, process)
        # Another group begins at the beginning: what was erased before it started is known before it sends.
        process = relay(shop, receiver.url, "--group", "another")
        eventually(lambda: len(shop.read(shop.settings.topic("deadletters"))) == 20)
        eventually(lambda: set(receiver.taken.values()) == {2})
        stop(shop, process)
        assert receiver.attempts["t0"] == attempts["t0"]
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(PATIENCE) == 0
    letters = shop.read(shop.settings.topic("deadletters"))
    assert {(letter.key, letter.value) for letter in letters} == {(mark.encode(), b"")}
    headers = dict(letters[0].headers)
    assert (headers["reason"], headers["stage"]) == (b"erased", b"relay")
    assert not any(b"user-0" in text for letter in letters for _, text in letter.headers)
    named = [e for e in shop.events() if e.get("userId") == "user-0"]
    assert [e["type"] for e in named] == ["delete"], "no feedback about them"
