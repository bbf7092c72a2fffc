import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import pytest

from tests.waiting import PATIENCE, eventually

ROOT = Path(__file__).parents[2]

CHAIN = """
    import subprocess, sys, time
    from agents.process import spawn_bound
    depth = int(sys.argv[1])
    plain = subprocess.Popen(["sleep", "600"])  # a child that knows nothing of being bound
    bound = spawn_bound(["sleep", "600"])
    print(plain.pid, bound.pid, flush=True)
    if depth:
        child = spawn_bound([sys.executable, "-c", sys.argv[2], str(depth - 1), sys.argv[2]], stdout=sys.stdout)
        print(child.pid, flush=True)
    time.sleep(600)
"""


def alive(pids: set[int]) -> set[int]:
    found = set()
    for pid in pids:
        try:
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.add(pid)
        except psutil.NoSuchProcess:
            pass
    return found


def start(program: str, *args: str) -> subprocess.Popen[str]:
    source = textwrap.dedent(program)
    return subprocess.Popen(
        [sys.executable, "-c", source, *args, source],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def tree(parent: subprocess.Popen[str], lines: int) -> set[int]:
    assert parent.stdout is not None
    pids = {int(pid) for _ in range(lines) for pid in parent.stdout.readline().split()}
    # with the watchdogs, which nobody names
    return pids | {child.pid for child in psutil.Process(parent.pid).children(recursive=True)}


@pytest.mark.faults
@pytest.mark.parametrize("frozen", [False, True])
def test_kill_9_of_the_parent_leaves_no_child_and_no_grandchild(frozen: bool) -> None:
    parent = start(CHAIN, "2")
    pids = tree(parent, 5)
    # the top's plain child is nobody's: it was started without spawn_bound
    top = psutil.Process(parent.pid)
    unbound = {child.pid for child in top.children() if os.getpgid(child.pid) == os.getpgid(parent.pid)}
    assert len(unbound) == 1
    bound = pids - unbound
    assert len(alive(bound)) >= 9
    if frozen:
        for pid in bound:
            if "sleep" in psutil.Process(pid).name() or "python" in psutil.Process(pid).name():
                os.kill(pid, signal.SIGSTOP)
    parent.kill()
    parent.wait()
    assert eventually(lambda: not alive(bound)), [psutil.Process(pid).cmdline() for pid in alive(bound)]
    for pid in unbound:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.faults
def test_a_killed_watchdog_is_replaced_for_the_next_child() -> None:
    parent = start(
        """
        import os, signal, sys, time
        from agents import process
        process.spawn_bound(["true"]).wait()
        os.kill(process._watchdog.shell.pid, signal.SIGKILL)
        process._watchdog.shell.wait()
        print(process.spawn_bound(["sleep", "600"]).pid, flush=True)
        time.sleep(600)
        """
    )
    pids = tree(parent, 1)
    parent.kill()
    parent.wait()
    assert eventually(lambda: not alive(pids))


def test_an_ordinary_end_leaves_nothing_either() -> None:
    parent = start(
        """
        import subprocess
        from agents.process import spawn_bound
        child = spawn_bound(["sleep", "600"])
        print(child.pid, flush=True)
        """
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert parent.wait(PATIENCE) == 0
    assert eventually(lambda: not alive({pid}))


def test_the_child_gets_no_ctrl_c_of_the_terminal_and_can_be_signalled_by_its_own_id() -> None:
    parent = start(
        """
        import os, signal
        from agents.process import spawn_bound
        child = spawn_bound(["sleep", "600"])
        assert os.getpgid(child.pid) != os.getpgid(0)
        child.send_signal(signal.SIGTERM)
        print(child.wait(), flush=True)
        """
    )
    assert parent.stdout is not None
    assert parent.stdout.readline().strip() == str(-signal.SIGTERM)
    parent.wait(PATIENCE)


@pytest.mark.faults
def test_a_program_of_make_ends_when_make_is_killed(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        "import os, time\n"
        "from agents.process import follow_parent, spawn_bound\n"
        "follow_parent()\n"
        "print(os.getpid(), spawn_bound(['sleep', '600']).pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    rule = f"all:\n\t@REKINDLE_PARENT=$$PPID PYTHONPATH={ROOT} exec {sys.executable} {tmp_path}/program.py\n"
    (tmp_path / "Makefile").write_text(rule)
    make = subprocess.Popen(
        ["make", "--no-print-directory", "-f", tmp_path / "Makefile"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert make.stdout is not None
        pids = {int(pid) for pid in make.stdout.readline().split()}
        assert len(alive(pids)) == 2
    finally:
        make.kill()
        make.wait()
    assert eventually(lambda: not alive(pids))
