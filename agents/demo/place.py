"""Where the demo runs: a folder of its own for each run, and a Kafka: ours on loopback, or yours."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Final

from agents.erasure_key import make_erasure_key
from agents.jars import KAFKA
from agents.kafka.admin import create_topics, delete_topics, plan
from agents.kafka.connection import client_options
from agents.local import LocalKafka, home
from agents.settings import Settings, load_settings
from schemas.topics import DEFAULT_PREFIX, DEMO_PARTITIONS

_PORT: Final = 9092  # if it is free, commands find the demo without being told where


@contextmanager
def run_folder() -> Iterator[Path]:
    """A folder below `home()` for this run's logs and data; it goes with the run, and so do those of killed runs."""
    base = home() / "demo"
    for left in base.glob("run-*"):
        if not _lives(int(left.name.split("-")[1])):
            shutil.rmtree(left, ignore_errors=True)
    folder = base / f"run-{os.getpid()}"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def kafka(yours: Settings | None, folder: Path, say: Callable[[str], None]) -> Iterator[tuple[Settings, str]]:
    """The settings under which the demo's topics exist, and in words which Kafka that is.

    Args:
        yours: how to reach your Kafka; its topics get a prefix of this run and are deleted afterwards. None: ours.
        folder: of this run.
        say: takes progress lines for a person.

    Raises:
        Refusal: no broker, or it refuses the topics.
    """
    if yours is None:
        with LocalKafka(folder / "kafka", port=_PORT, say=say) as broker:
            settings = load_settings(
                brokers=broker.bootstrap, topic_prefix=DEFAULT_PREFIX, app_id="rekindle", security_protocol="PLAINTEXT"
            )
            create_topics(client_options(settings), plan(settings.topic_prefix, DEMO_PARTITIONS))
            make_erasure_key(settings)
            yield settings, f"Apache Kafka {KAFKA} at {settings.brokers}"
        return
    name = f"demo-{token_hex(3)}"
    settings = yours.model_copy(
        update={"topic_prefix": f"{yours.topic_prefix}{name}.", "app_id": f"{yours.app_id}-{name}"}
    )
    try:
        create_topics(client_options(settings), plan(settings.topic_prefix, DEMO_PARTITIONS))
        make_erasure_key(settings)
        yield settings, f"Kafka at {settings.brokers}, topics {settings.topic_prefix}*"
    finally:
        say(f"deleting the topics {settings.topic_prefix}*")
        delete_topics(client_options(settings), settings.topic_prefix)
