"""Compose file, Dockerfile and systemd units: read by what would run them, or checked word by word."""

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import pytest
from compose_spec import PyCompose
from ruamel.yaml import YAML

from agents.cli import main
from agents.exits import Exit
from agents.jars import KAFKA
from agents.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "docker-compose.yml"
SYSTEMD = ROOT / "deploy" / "systemd"
OURS = "rekindle:local"
RESTARTED = {Exit.BUG, Exit.NO_BROKER, Exit.FENCED, Exit.SEND}
"""What a supervisor restarts after; agents/exits.py says so."""


def compose() -> dict[str, Any]:
    merged = YAML(typ="safe").load(COMPOSE.read_text())  # with its anchors and merges
    read = PyCompose.from_yaml(json.dumps(merged))
    read.validate()
    return read.to_dict()  # type: ignore[no-any-return]


def services() -> dict[str, dict[str, Any]]:
    return compose()["services"]  # type: ignore[no-any-return]


def dockerfile() -> list[tuple[str, str]]:
    """Instructions and their words, continued lines joined, comments left out."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    found = []
    for line in filter(None, (line.strip() for line in joined.splitlines())):
        name, _, rest = line.partition(" ")
        found.append((name, rest.strip()))
    return found


def parsed(words: list[str]) -> None:
    """Let click read a command without running it. Raises UsageError."""
    if words[1:] == ["--help"]:
        if main.get_command(click.Context(main), words[0]) is None:
            raise click.UsageError(f"no command {words[0]!r}")
        return
    context = main.make_context("rekindle", list(words))
    command: click.Command = main
    while isinstance(command, click.Group):
        name, found, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        assert found is not None, words
        command, context = found, found.make_context(name, rest, parent=context)


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every `rekindle` command that a file of the deployment runs, or tells a person to."""
    for name, service in services().items():
        if service.get("image") == OURS:
            yield f"service {name}", service["command"]
    text = COMPOSE.read_text()
    for line in re.findall(r"docker compose run --rm worker ([^#\n]+)", text):
        yield "comment in docker-compose.yml", shlex.split(line)
    instructions = dict(dockerfile())
    yield "Dockerfile", instructions["CMD"].strip("[]").replace('"', "").replace(",", " ").split()
    for unit in SYSTEMD.glob("*.service"):
        for line in re.findall(r"^ExecStart=\S+/rekindle (.*)$", unit.read_text(), re.MULTILINE):
            yield unit.name, line.split()
    for block in re.findall(r"^```sh\n(.*?)^```$", _operations(), re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            found = re.search(r"(?:^|worker |@ )rekindle (.*)", line) or re.search(r"run --rm worker (.*)", line)
            if found:
                yield f"docs/operations.md: {line}", shlex.split(re.sub(r"\s+(#|&$|\|).*", "", found[1]))

    for line in re.findall(r"`rekindle ([a-z][^`]*)`", _operations()):
        words = shlex.split(line.replace("PARTITION OFFSET", "0 0").replace("VERSION", "1"))
        yield f"docs/operations.md: {line}", words if len(words) > 1 else [*words, "--help"]


def _operations() -> str:
    return (ROOT / "docs" / "operations.md").read_text()


def test_the_compose_file_keeps_to_the_specification() -> None:
    assert {"kafka", "topics", "worker", "redis", "prometheus", "grafana"} <= services().keys()


def test_every_command_is_one_of_rekindle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its options: files that are named need not exist."""
    monkeypatch.chdir(tmp_path)
    found = list(commands())
    assert len(found) >= 40
    for where, words in found:
        for before, word in pairwise(["", *words]):
            path = tmp_path / word.lstrip("/")
            if before in ("--out", "--dump") and not path.suffix:  # click looks whether a folder or a file is there
                path.mkdir(parents=True, exist_ok=True)
            elif "/" in word or word.endswith((".yaml", ".json", ".jsonl")):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
        local = [word.lstrip("/") if word.startswith("/") else word for word in words]
        try:
            parsed(local)
        except click.UsageError as error:
            pytest.fail(f"{where}: {' '.join(words)}: {error.message}")


def test_a_command_that_is_none_is_noticed() -> None:
    for words in (["wroker"], ["topics", "make"], ["topics", "create", "--partition-count", "8"]):
        with pytest.raises(click.UsageError):
            parsed(words)


def test_everything_that_is_mounted_exists_and_is_read_only() -> None:
    declared = compose()["volumes"]
    mounts = [mount for service in services().values() for mount in service.get("volumes", ())]
    assert mounts
    for mount in mounts:
        source, target, *mode = mount.split(":")
        if source.startswith("."):
            assert (ROOT / source).exists(), mount
            assert mode == ["ro"], f"{mount} could be written by a container"
        else:
            assert source in declared, mount
        assert target.startswith("/")


def test_images_are_pinned_and_the_broker_is_the_one_that_the_tests_run_on() -> None:
    images = {name: service["image"] for name, service in services().items()}
    for image in set(images.values()) - {OURS}:
        assert re.search(r":v?\d+\.\d+\.\d+(-[a-z]+)?$", image), f"{image} is not pinned to a release"
    assert images["kafka"] == f"apache/kafka:{KAFKA}"
    for name, words in dockerfile():
        if name == "FROM":
            assert re.match(r"python:3\.\d+\.\d+-slim-[a-z]+( AS \w+)?$", words), words


def test_workers_can_be_scaled_and_nothing_is_open_to_the_network() -> None:
    worker = services()["worker"]
    assert "ports" not in worker
    assert "container_name" not in worker
    for name, service in services().items():
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), f"{name}: {port}"


def test_services_wait_for_what_exists_and_can_say_that_it_is_ready() -> None:
    found = services()
    for name, service in found.items():
        waits = service.get("depends_on", {})
        for other in waits:
            assert other in found, f"{name} waits for {other}"
            if isinstance(waits, dict) and waits[other].get("condition") == "service_healthy":
                assert "test" in found[other]["healthcheck"], f"{other} has no health check"


def test_environments_name_real_settings() -> None:
    known = {f"REKINDLE_{name.upper()}" for name in Settings.model_fields}
    texts = [COMPOSE.read_text(), (ROOT / "Dockerfile").read_text()]
    texts += [path.read_text() for path in SYSTEMD.iterdir()]
    used = {name for text in texts for name in re.findall(r"\b(REKINDLE_[A-Z_]+)[:=]", text)}
    assert used
    assert used <= known, used - known


def test_the_image_runs_as_nobody_in_particular_and_says_whether_it_is_well() -> None:
    instructions = dockerfile()
    last = max(n for n, (name, _) in enumerate(instructions) if name == "FROM")
    names = [name for name, _ in instructions[last:]]
    user = dict(instructions[last:])["USER"]
    assert user.split(":")[0].isdecimal()
    assert int(user.split(":")[0]) >= 1000
    assert names.index("USER") < names.index("ENTRYPOINT")
    assert not any(name == "RUN" for name in names[names.index("USER") :])
    assert "HEALTHCHECK" in names
    for name, words in instructions:
        assert name != "ADD", "COPY says what it does"
        assert name != "MAINTAINER"
        if name in ("CMD", "ENTRYPOINT"):
            assert words.startswith("["), f"{name}: a shell would get the signals"
        assert "sudo" not in words
        assert not (name == "ENV" and re.search("PASSWORD|SECRET|TOKEN", words)), "no secrets in an image"


def test_everything_that_the_image_copies_exists_and_is_let_through() -> None:
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = set()
    for name, words in dockerfile():
        if name == "COPY" and not words.startswith("--from"):
            copied |= set(words.split()[:-1])
    assert copied == let_through
    assert all((ROOT / path).exists() for path in copied)


def test_a_supervisor_starts_again_what_may_pass_and_leaves_what_needs_a_person() -> None:
    for unit in SYSTEMD.glob("*.service"):
        if unit.with_suffix(".timer").exists():  # which starts it again
            assert "Type=oneshot" in unit.read_text()
            continue
        (line,) = re.findall(r"^RestartPreventExitStatus=(.*)$", unit.read_text(), re.MULTILINE)
        assert set(map(int, line.split())) == set(Exit) - RESTARTED - {Exit.OK}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_reads_the_units(tmp_path: Path) -> None:
    program = shutil.which("true") or "/bin/true"
    for path in SYSTEMD.glob("rekindle*"):
        text = re.sub(r"^ExecStart=\S+", f"ExecStart={program}", path.read_text(), flags=re.MULTILINE)
        (tmp_path / path.name).write_text(text)
    timers = [path.name for path in SYSTEMD.glob("*.timer")]
    assert sorted(timers) == ["rekindle-perks.timer", "rekindle-quantiles.timer"]
    names = ("rekindle-worker@9464.service", "rekindle-views.service", "rekindle-api.service", "rekindle.target")
    units = [tmp_path / name for name in (*names, *timers, *(timer.replace("timer", "service") for timer in timers))]
    done = subprocess.run(
        ["systemd-analyze", "verify", *units],
        capture_output=True, text=True, check=False, env=os.environ | {"SYSTEMD_LOG_LEVEL": "warning"},
    )  # fmt: skip
    complaints = [line for line in done.stderr.splitlines() if "rekindle" in line]
    assert done.returncode == 0, done.stderr
    assert not complaints
