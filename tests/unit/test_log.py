import io
import json
import logging
from collections.abc import Iterator

import pytest

from agents.log import configure_logs, logger


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logs("info", "json", stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)


def test_one_json_object_per_line_whatever_is_in_it(written: io.StringIO) -> None:
    logger("agents.test").info("odd_value", value='a\nb"\x1b[31m')
    logging.getLogger("elsewhere").warning("first\nsecond")
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["odd_value", "first\nsecond"]
    assert lines[0]["value"] == 'a\nb"\x1b[31m'
    assert lines[0]["level"] == "info"
    assert "timestamp" in lines[0]


def test_a_library_repeats_itself_once_in_five_seconds(written: io.StringIO) -> None:
    for _ in range(100):
        logging.getLogger("aiokafka.client").error("Unable connect to node with id %s", 1)
        logging.getLogger("aiokafka.client").info("chatter")
    logger("agents.test").warning("ours")
    logger("agents.test").warning("ours")
    assert len(written.getvalue().splitlines()) == 3
