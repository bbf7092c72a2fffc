"""What commands share that look at a whole history: from files, or from the running deployment's user topic."""

from pathlib import Path

import click
from rich.progress import Progress

from agents.cli.base import run
from agents.cli.replay import History
from agents.exits import Exit, Refusal
from agents.history import Past, read_topic
from agents.settings import Settings
from pipeline.play import in_order
from pipeline.policy import Policy, PolicyError, parse

events = click.argument("files", nargs=-1, metavar="[EVENTS]...")
policy_option = click.option(
    "--policy",
    "policy_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Fold under this policy; by default the adopted one, of files the built-in one.",
)


def past_of(settings: Settings, files: tuple[str, ...], policy_file: Path | None, bar: Progress) -> Past:
    """The history to look at. Raises Refusal."""
    asked = None if policy_file is None else _policy(policy_file)
    if not files:
        bar.add_task("reading the user topic", total=None)
        return run(settings, read_topic(settings, asked))
    history = History(files)
    history.read(bar)
    return Past(in_order(history.raws), *(asked or ()))


def _policy(path: Path) -> tuple[Policy, bytes]:
    body = path.read_bytes()
    try:
        return parse(body, name=str(path)), body
    except PolicyError as error:
        raise Refusal(Exit.POLICY, f"the policy can't be used:\n{error}") from error
