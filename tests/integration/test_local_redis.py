"""The local Redis: a real one, that ends with its parent."""

import signal
from pathlib import Path

import pytest
from redis import Redis

from agents import local_redis
from agents.exits import Refusal
from agents.local_redis import LocalRedis, find_server
from tests.integration.test_local import ends_with_its_parent


def test_data_and_address_survive_a_stop_and_a_kill_loses_what_was_not_saved(tmp_path: Path) -> None:
    with LocalRedis(tmp_path) as server:
        url = server.url
        Redis.from_url(url).set("kept", 1)
        server.stop()
        assert not server.running
        server.start()
        assert (server.url, Redis.from_url(url).get("kept")) == (url, b"1")
        Redis.from_url(url).set("lost", 1)
        server.kill()
        server.start()
        assert Redis.from_url(url).mget("kept", "lost") == [b"1", None]


def test_without_a_server_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_server() is not None
    monkeypatch.setattr(local_redis, "find_server", lambda: None)
    with pytest.raises(Refusal, match="views and API are off; triggers need neither"):
        LocalRedis(tmp_path).start()


def test_one_that_can_not_start_says_where_to_look(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"has not started.*redis\.log"):
        LocalRedis(tmp_path, settings=("no-such-setting 1",)).start()


@pytest.mark.faults
@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
def test_redis_is_gone_when_its_parent_is(tmp_path: Path, ending: signal.Signals) -> None:
    assert ends_with_its_parent("local_redis import LocalRedis", tmp_path, ending)
