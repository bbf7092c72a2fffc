import signal
import subprocess
import sys

import pytest

from agents.failpoints import Failpoints


def test_nothing_happens_without_one_or_at_another() -> None:
    for failpoints in (Failpoints(), Failpoints("after_commit"), Failpoints("before_commit:3")):
        failpoints("after_changelog")
        failpoints("before_commit")


@pytest.mark.parametrize("spec", ["nowhere", "after_commit:x", "after_commit:0"])
def test_a_wrong_one_is_refused(spec: str) -> None:
    with pytest.raises(ValueError, match="failpoint"):
        Failpoints(spec)


def test_the_process_dies_at_the_nth_passage() -> None:
    code = """
from agents.failpoints import Failpoints
point = Failpoints("after_commit:3")
for passage in range(1, 9):
    point("after_changelog")
    print(passage, flush=True)
    point("after_commit")
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert ended.stdout.split() == ["1", "2", "3"]
