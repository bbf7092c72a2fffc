"""The projector under SASL_SSL: what is granted to the operator suffices, and what is missing is one readable line."""

import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep

from agents.exits import Exit
from agents.local_redis import LocalRedis
from tests.integration.secure import Right
from tests.integration.test_security import PREFIX, ROOT, Deployment, deployment
from tests.waiting import PATIENCE

__all__ = ["deployment"]


def views(deployment: Deployment, redis: LocalRedis, said: Path, patience: float = PATIENCE) -> int | None:
    """Run `rekindle views` until it shows everything (None) or ends (its exit code)."""
    environment = deployment.environment("rekindle-operator") | {"REKINDLE_REDIS_URL": redis.url}
    with said.open("wb") as out:
        command = [sys.executable, "-m", "agents.cli", "views"]
        process = subprocess.Popen(command, env=environment, cwd=ROOT, stderr=out)
    try:
        deadline = monotonic() + patience
        while process.poll() is None and '"views_shown"' not in said.read_text():
            assert monotonic() < deadline, said.read_text()
            sleep(0.1)
        return process.poll()
    finally:
        process.terminate()
        process.wait(PATIENCE)


async def test_what_the_operator_may_do_is_enough(deployment: Deployment, tmp_path: Path) -> None:
    await deployment.send()
    deployment.work("no such line", patience=8)
    with LocalRedis(tmp_path / "redis") as redis:
        assert views(deployment, redis, tmp_path / "said") is None
    code, said = deployment.run("rekindle-operator", "explain", "user", "user-1", "--kafka")
    assert code == 0, said
    assert "if silence goes on, silent sends" in said


async def test_a_right_that_is_missing_is_one_line(deployment: Deployment, tmp_path: Path) -> None:
    lacking = [Right("User:rekindle-operator", word, "--topic", PREFIX + "state", "literal") for word in ("Read",)]
    with LocalRedis(tmp_path / "redis") as redis, deployment.secure.without(*lacking):
        code = views(deployment, redis, tmp_path / "said")
    assert code in (Exit.NO_BROKER, Exit.TOPICS)
    line = (tmp_path / "said").read_text().strip().splitlines()[-1]
    assert line.startswith("rekindle: ")
    assert "uthoriz" in line
