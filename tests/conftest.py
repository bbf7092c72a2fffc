"""Shared by all suites: one real Kafka for the session, and a topic prefix of its own for each test."""

import fcntl
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psutil
import pytest
from hypothesis import HealthCheck, settings

from agents.erasure_key import make_erasure_key
from agents.jars import kafka_jars
from agents.local import LocalKafka, home
from agents.process import follow_parent
from agents.settings import Settings
from tests.waiting import BROKER_SETTINGS

# Examples of a property: a fixed set by default, other ones and more of them with REKINDLE_HYPOTHESIS=ci or deep. No
# deadline: a busy machine is no failure.
_COMMON = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
settings.register_profile("default", _COMMON, max_examples=200, derandomize=True, database=None)
settings.register_profile("ci", _COMMON, max_examples=1_000, print_blob=True)
settings.register_profile("deep", _COMMON, max_examples=20_000, print_blob=True)
settings.load_profile(os.environ.get("REKINDLE_HYPOTHESIS", "default"))


def pytest_configure(config: pytest.Config) -> None:
    """A run that `make test` started ends with it. Ctrl-C is tested also where a background job would ignore it."""
    if hasattr(config, "workerinput"):  # one of several processes, side by side: it ends with the one that shares out
        os.environ["REKINDLE_PARENT"] = str(os.getppid())
    follow_parent()
    os.environ["REKINDLE_ERASURE_KEY_FILE"] = str(home() / "test-erasure.key")
    make_erasure_key(Settings())
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def broker_folder() -> Iterator[Path]:
    """A folder for the brokers of this session; the jars stay in `home()` for the next."""
    for left in home().glob("test-*-*"):  # by a session that was killed
        if not psutil.pid_exists(int(left.name.split("-")[1])):
            shutil.rmtree(left, ignore_errors=True)
    folder = home() / f"test-{os.getpid()}-{uuid4().hex[:6]}"
    folder.mkdir(parents=True)
    with (home() / "fetching").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)  # of several processes one fetches
        kafka_jars(home())
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def kafka(broker_folder: Path) -> Iterator[LocalKafka]:
    """The session's broker, running; a test that stops it starts it again."""
    with LocalKafka(broker_folder / "kafka", heap_mb=384, settings=BROKER_SETTINGS) as broker:
        yield broker


@pytest.fixture
def prefix() -> str:
    """Topic prefix that no other test uses."""
    return f"t{uuid4().hex[:12]}."
