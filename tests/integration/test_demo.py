"""The demo as a newcomer runs it: its summary, its exit code, and that nothing is left behind."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest

from agents.churn import digest, samples
from agents.demo import history
from agents.demo.run import MODEL, POLICY
from agents.history import Past
from agents.local import LocalKafka, home
from agents.settings import load_settings
from pipeline.policy import parse
from pipeline.risk import Fitted, Logistic
from pipeline.risk.document import read
from pipeline.risk.fitting import fit
from tests.waiting import PATIENCE

DEMO = (sys.executable, "-P", "-m", "agents.cli", "demo")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of the local stack of its own; the jars are those of the session."""
    own = tmp_path / "stack"
    own.mkdir()
    for kept in (*home().glob("kafka-*"), *home().glob("cdnow")):
        (own / kept.name).symlink_to(kept)
    return own


@pytest.fixture
def started(folder: Path, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts demos; their output goes to `tmp_path/out`."""
    running: list[subprocess.Popen[bytes]] = []

    def start(*args: str, **env: str) -> subprocess.Popen[bytes]:
        ours = {name: value for name, value in os.environ.items() if not name.startswith("REKINDLE_")}
        with (tmp_path / "out").open("wb") as out:
            demo = subprocess.Popen(
                [*DEMO, *args], stdout=out, stderr=subprocess.STDOUT, env=ours | {"REKINDLE_HOME": str(folder)} | env
            )
        running.append(demo)
        return demo

    yield start
    for demo in running:
        demo.kill()
        demo.wait()


def family(demo: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Every process below the demo, watchdog and broker and workers."""
    return psutil.Process(demo.pid).children(recursive=True)


def left(processes: list[psutil.Process], seconds: float = PATIENCE) -> list[psutil.Process]:
    """Those that still run after a while."""
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    return [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


def wait_for(text: str, out: Path, demo: subprocess.Popen[bytes], seconds: float = PATIENCE) -> str:
    """The output, once `text` is in it."""
    deadline = time.monotonic() + seconds
    while text not in (said := out.read_text(errors="replace")):
        assert demo.poll() is None, said
        assert time.monotonic() < deadline, said
        time.sleep(0.1)
    return said


def test_the_history_is_played_a_worker_is_killed_and_everything_adds_up(
    started: Callable[..., subprocess.Popen[bytes]], tmp_path: Path, folder: Path
) -> None:
    demo = started("--exit", "--seconds", "10")
    wait_for("1997-0", tmp_path / "out", demo)
    processes = family(demo)
    time.sleep(4)
    workers = [process for process in processes if "worker" in process.cmdline()]
    assert len(workers) == 2
    workers[0].kill()
    code = demo.wait(2 * PATIENCE)
    said = (tmp_path / "out").read_text()
    assert code == 0, said
    assert "read 6,947 = applied 6,919 + duplicate 24 + rejected 4" in said
    assert "lost 0, wrong 0, duplicate 0, state errors 0" in said
    assert "views   every row, sum and decision in Redis is the one in Kafka" in said
    assert "everything adds up" in said
    assert re.search(r"dormant +2,127 +90%", said)
    assert re.search(r"newsletter +0 +576 +576 +2,432 +\$93,422\.71", said)
    assert re.search(r"dormant +161 of 1,969 \(8\.2%\)", said)
    assert re.search(r"calibrated: what it foretells is what comes\n +scores +1,228 resolved, of 210 days", said)
    assert re.search(r"last: customer-\d+, .*risk 0\.\d\d", said)
    assert "Campaigns are synthetic" in said
    assert not left(processes)
    assert list((folder / "demo").iterdir()) == []


def test_the_model_is_what_a_fit_makes_of_the_first_nine_months() -> None:
    raws = [raw for raw in history.events(history.load(home())) if raw.time is not None and raw.time < history.LEARNED]
    body = POLICY.read_bytes()
    shipped = read(MODEL.read_bytes())
    assert isinstance(shipped, Fitted)
    assert shipped.data == digest(raws)
    found = samples(Past(raws, parse(body), body), shipped.model.horizon, "default")
    made = fit(Logistic, found.samples, shipped.model.horizon, shipped.data)
    assert (made.trained, made.tested) == (shipped.trained, shipped.tested)
    assert made.held_out.auc.value == pytest.approx(shipped.held_out.auc.value, abs=1e-3)
    assert isinstance(made.model, Logistic)
    assert isinstance(shipped.model, Logistic)
    assert made.model.weights == pytest.approx(shipped.model.weights, abs=1e-3)


def test_a_kafka_of_yours_is_used_and_left_as_it_was(
    started: Callable[..., subprocess.Popen[bytes]], tmp_path: Path, kafka: LocalKafka
) -> None:
    from agents.kafka.admin import admin_client

    demo = started("--seconds", "4", REKINDLE_BROKERS=kafka.bootstrap, REKINDLE_TOPIC_PREFIX="yours.")
    said = wait_for("Ctrl-C ends the demo.", tmp_path / "out", demo)
    found = re.search(r"REKINDLE_TOPIC_PREFIX=(yours\.demo-[0-9a-f]{6}\.)", said)
    assert found, said
    assert "everything adds up" in said
    command = [*DEMO[:-1], "--brokers", kafka.bootstrap, "--prefix", found[1]]
    user, env = ask_the_api(said)
    env["REKINDLE_HOME"] = str(tmp_path / "stack")
    for args in (
        *(["verify"], ["tail", "triggers", "-n", "3"], ["deadletters", "list"]),
        *(["explain", "user", user], ["user", user]),
    ):
        done = subprocess.run([*command, *args], env=env, capture_output=True, text=True, check=False, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr
    processes = family(demo)
    demo.send_signal(signal.SIGINT)
    assert demo.wait(PATIENCE) == 0, (tmp_path / "out").read_text()
    assert not left(processes)
    with admin_client({"bootstrap_servers": kafka.bootstrap}) as admin:
        assert not [topic for topic in admin.list_topics() if topic.startswith("yours.")]


def ask_the_api(said: str) -> tuple[str, dict[str, str]]:
    """Ask all that the demo proposes; the user who was to be recalled, and the environment of a terminal beside it."""
    asked = dict(re.findall(r"curl (http://127\.0\.0\.1:\d+/(users|channels|growth)\S*)", said))
    assert sorted(asked.values()) == ["channels", "growth", "users"]
    answers = {}
    for address, what in asked.items():
        with urlopen(address, timeout=PATIENCE) as answer:  # noqa: S310 our own on loopback
            answers[what] = json.load(answer)
    assert answers["channels"]["items"]
    assert answers["growth"]["items"]
    user = answers["users"]["user"]
    assert f"explain user {user}" in said
    assert any(decision["data"]["decision"] == "send" for decision in answers["users"]["decisions"])
    theirs = {name: value for name, value in os.environ.items() if not name.startswith("REKINDLE_")}
    return user, theirs | dict(re.findall(r"(REKINDLE_REDIS_URL)=(\S+)", said))


async def test_without_a_redis_the_demo_says_that_there_are_no_views(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agents.demo import window

    said: list[str] = []
    monkeypatch.setattr(window, "find_server", lambda: None)
    async with window.window(load_settings(), tmp_path, said.append) as readers:
        assert readers is None
    assert "views and API are off" in said[0]


@pytest.mark.parametrize("moment", ["starting Kafka", "1997-0"])
def test_after_a_kill_nothing_is_left_running(
    started: Callable[..., subprocess.Popen[bytes]], tmp_path: Path, moment: str
) -> None:
    demo = started("--seconds", "60")
    wait_for(moment, tmp_path / "out", demo)
    time.sleep(1.0)
    processes = family(demo)
    assert processes
    if moment != "starting Kafka":
        said = [" ".join(process.cmdline()) for process in processes]
        assert all(any(word in each for each in said) for word in ("redis", "agents.cli views", "agents.cli api")), said
    demo.kill()
    demo.wait()
    assert not left(processes)


def test_ctrl_c_while_it_plays_ends_everything(
    started: Callable[..., subprocess.Popen[bytes]], tmp_path: Path, folder: Path
) -> None:
    demo = started("--seconds", "60")
    wait_for("1997-0", tmp_path / "out", demo)
    processes = family(demo)
    demo.send_signal(signal.SIGINT)
    assert demo.wait(PATIENCE) == 130, (tmp_path / "out").read_text()
    assert not left(processes)
    assert list((folder / "demo").iterdir()) == []
