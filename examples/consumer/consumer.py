"""A consumer of Rekindle's triggers, to copy: committed records only, every trigger handled once, and reported back.

    python consumer.py --brokers localhost:9092 --store triggers.db

It needs kafka-python and nothing else. This one only writes each message into its own database, in the transaction that
also remembers the trigger: so it is exactly once, kill -9 included. `mailer.py` sends e-mails instead.
"""

import argparse
import json
import signal
import sqlite3
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from kafka import KafkaConsumer, KafkaProducer

Trigger = dict[str, Any]
KEEP = 86_400  # s beyond its expiry for which a trigger's id is remembered


class Refused(Exception):
    """This trigger can't be sent, now or ever: no address, for example."""


class NotNow(Exception):
    """It may work later."""


class Store:
    """What has been handled, by the trigger's id. All consumers of a group share one (here: one consumer, one file)."""

    def __init__(self, path: str) -> None:
        self.database = sqlite3.connect(path, isolation_level=None)
        self.database.execute("pragma journal_mode = wal")
        self.database.execute("pragma synchronous = full")
        self.database.execute("create table if not exists handled (id text primary key, outcome text, until real)")

    def outcome(self, trigger: Trigger) -> str | None:
        """How this trigger ended; None: it has not been handled yet."""
        found = self.database.execute("select outcome from handled where id = ?", (trigger["id"],)).fetchone()
        return found[0] if found else None

    def remember(self, trigger: Trigger, outcome: str) -> None:
        """Never handle it again."""
        row = (trigger["id"], outcome, expiry(trigger) + KEEP)
        self.database.execute("insert into handled values (?, ?, ?)", row)

    def forget(self) -> None:
        """Ids whose triggers expired long ago: they would be dropped anyway."""
        self.database.execute("delete from handled where until < ?", (time.time(),))


Handle = Callable[[Trigger, sqlite3.Connection], None]
"""Sends one trigger. What it writes to the database is written with the trigger's id. Raises Refused or NotNow."""


def expiry(trigger: Trigger) -> float:
    """When it must not be sent any more, as a Unix time."""
    return datetime.fromisoformat(trigger["data"]["expires_at"]).timestamp()


def handle_once(trigger: Trigger, store: Store, handle: Handle, running: Callable[[], bool]) -> str | None:
    """Send it unless that was done before; `sent`, or why not. None: we are to stop before it could be sent."""
    wait = 1.0
    while (outcome := store.outcome(trigger)) is None:
        if time.time() >= expiry(trigger):
            store.remember(trigger, "expired")
            continue
        if not running():
            return None
        store.database.execute("begin immediate")
        try:
            handle(trigger, store.database)
            store.remember(trigger, "sent")
        except Refused as refused:
            store.database.execute("rollback")
            store.remember(trigger, f"refused: {refused}")
        except NotNow as error:
            store.database.execute("rollback")
            print(f"{trigger['id']}: {error}; again in {wait:.0f} s", flush=True)
            end = time.time() + wait
            while running() and time.time() < end:
                time.sleep(0.05)
            wait = min(wait * 2, 60.0)
        except BaseException:
            store.database.execute("rollback")
            raise
        else:
            store.database.execute("commit")
    return outcome


def report(trigger: Trigger, outcome: str) -> tuple[bytes, bytes]:
    """Key and value of what Rekindle is told. The same messageId every time: told twice it counts once."""
    sent = outcome == "sent"
    event = {
        "messageId": f"{trigger['id']}/{'sent' if sent else 'failed'}",
        "type": "track",
        "event": "Message Sent" if sent else "Message Failed",
        "userId": trigger["subject"],
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "properties": {"trigger_id": trigger["id"], "channel": trigger["data"]["channel"]},
    }
    if not sent:
        event["properties"]["reason"] = outcome
    return trigger["subject"].encode(), json.dumps(event).encode()


def run(options: argparse.Namespace, handle: Handle) -> None:
    """Until SIGTERM or Ctrl-C."""
    running = True

    def stop(*_: object) -> None:
        nonlocal running
        running = False

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    store = Store(options.store)
    brokers = options.brokers.split(",")
    producer = KafkaProducer(bootstrap_servers=brokers, acks="all")  # partitions by murmur2 of the key, as it has to be
    consumer = KafkaConsumer(
        options.prefix + "triggers",
        bootstrap_servers=brokers,
        group_id=options.group,
        isolation_level="read_committed",  # else triggers of transactions that were aborted, too
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_poll_records=50,
        session_timeout_ms=6_000,  # so soon after a kill its partitions go to the next
        heartbeat_interval_ms=1_000,
    )
    try:
        while running:
            for records in consumer.poll(timeout_ms=200).values():
                reports = []
                for record in records:
                    trigger = json.loads(record.value)
                    outcome = handle_once(trigger, store, handle, lambda: running)
                    if outcome is None:
                        return  # nothing of this poll is committed: the ids tell what was done
                    key, value = report(trigger, outcome)
                    reports.append(producer.send(options.prefix + "users", key=key, value=value))
                for sent in reports:
                    sent.get(timeout=30)
            consumer.commit()  # only now: handled and reported
            store.forget()
    finally:
        consumer.close()
        producer.close()


def parser(text: str) -> argparse.ArgumentParser:
    """The options that every variant has."""
    made = argparse.ArgumentParser(description=text)
    made.add_argument("--brokers", default="localhost:9092")
    made.add_argument("--prefix", default="rekindle.", help="of topic names")
    made.add_argument("--group", default="example-consumer")
    made.add_argument("--store", default="triggers.db", help="database file with the ids of what was handled")
    return made


def write_message(trigger: Trigger, database: sqlite3.Connection) -> None:
    """A stand-in for sending: a row in the database."""
    database.execute("create table if not exists messages (trigger text, user text, template text)")
    row = (trigger["id"], trigger["subject"], trigger["data"]["template_id"])
    database.execute("insert into messages values (?, ?, ?)", row)


if __name__ == "__main__":
    run(parser("Write Rekindle's triggers into a database, each once.").parse_args(), write_message)
