"""Every command of the playbook is one of Rekindle, with its options, and every link leads somewhere."""

import re
import shlex
from itertools import pairwise
from pathlib import Path

import click
import pytest

from tests.deploy.test_containers import parsed

DOCS = Path(__file__).resolve().parents[2] / "docs"
PLAYBOOK = (DOCS / "playbook.md").read_text()
COMMANDS = re.findall(r"`rekindle ([a-z][^`]*)`", PLAYBOOK)


def test_it_answers_questions() -> None:
    assert len(set(COMMANDS)) >= 35


@pytest.mark.parametrize("line", sorted(set(COMMANDS)))
def test_every_command_is_one_of_rekindle(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that are named need not exist."""
    monkeypatch.chdir(tmp_path)
    words = shlex.split(line)
    for before, word in pairwise(["", *words]):
        if re.search(r"\.(yaml|jsonl|jsonl\.gz|json)$", word) and before != "--out":
            (tmp_path / word).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / word).touch()
    try:
        parsed(words)
    except click.UsageError as error:
        pytest.fail(f"rekindle {line}: {error.message}")


@pytest.mark.parametrize("page", ["playbook.md", "methods/reasons.md", "methods/drivers.md"])
def test_every_link_leads_somewhere(page: str) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", (DOCS / page).read_text()):
        name, _, anchor = link.partition("#")
        target = (DOCS / page).parent / name
        assert target.exists(), link
        headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
        assert not anchor or anchor in [re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in headings]
