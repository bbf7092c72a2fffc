"""Shared by all suites: one real Kafka for the session, and a topic prefix of its own for each test."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from agents.local import LocalKafka, home


@pytest.fixture(scope="session")
def broker_folder() -> Iterator[Path]:
    """A folder for the brokers of this session; the jars stay in `home()` for the next."""
    home().mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="test-", dir=home()))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def kafka(broker_folder: Path) -> Iterator[LocalKafka]:
    """The session's broker, running; a test that stops it starts it again."""
    with LocalKafka(broker_folder / "kafka", heap_mb=384) as broker:
        yield broker


@pytest.fixture
def prefix() -> str:
    """Topic prefix that no other test uses."""
    return f"t{uuid4().hex[:12]}."
