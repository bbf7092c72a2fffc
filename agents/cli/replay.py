"""`rekindle replay`: what a history would have led to under a policy."""

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from pathlib import Path

import click
import msgspec
from rich.progress import Progress

from agents.backtest import read_model
from agents.cli.base import as_json, emit, progress, settings_of
from agents.exits import Exit, Refusal
from agents.files import lines, size, text_of
from agents.readable import sums_view, user_view
from agents.replay import Refused, Replayed, few_collections, read_line, run
from pipeline.play import Raw
from pipeline.policy import PolicyError, parse

_REPORT = 10_000


class History:
    """Events of several files, and where each stood."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self.raws: list[Raw] = []
        self._numbers = array("Q")
        self._starts: list[int] = []  # index of each file's first event

    def read(self, bar: Progress) -> None:
        """Read all files. Raises Refusal."""
        task = bar.add_task("reading", total=size(self.names))
        for name in self.names:
            self._starts.append(len(self.raws))
            unseen = 0
            for number, text in lines(name):
                self.raws.append(read_line(text))
                self._numbers.append(number)
                unseen += len(text) + 1
                if len(self.raws) % _REPORT == 0:
                    bar.advance(task, unseen)
                    unseen = 0
        bar.remove_task(task)

    def place(self, index: int) -> dict[str, str | int]:
        """File and line of an event."""
        return {"file": self.names[bisect_right(self._starts, index) - 1], "line": self._numbers[index]}


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--policy", "policy_file", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--model",
    "model_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A churn model of `rekindle fit`, for rules by `risk_above`.",
)
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder for the results.")
@click.option("--as-is", is_flag=True, help="Keep the order of the files: events that come late are late.")
@as_json
@click.pass_context
def replay(
    ctx: click.Context,
    *,
    files: tuple[str, ...],
    policy_file: Path,
    model_file: Path | None,
    out: Path,
    as_is: bool,
    as_json: bool,
) -> None:
    """Run events from FILEs through the core, as fast as it goes, in their own time; no Kafka is needed.

    A FILE holds one event a line (JSON), plain or gzip; `-` is stdin. The events are played in the order of their
    time. OUT gets triggers, decisions, outcomes, segments, users and deadletters as .jsonl and sums.json: sorted,
    and the same bytes from run to run.
    """
    settings = settings_of(ctx)
    body = policy_file.read_bytes()
    try:
        policy = parse(body, name=str(policy_file))
    except PolicyError as error:
        raise Refusal(Exit.POLICY, f"the policy can't be used:\n{error}") from error
    model = read_model(model_file)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refusal(Exit.USAGE, f"--out {out}: {error.strerror}") from error
    with few_collections(), progress(quiet=as_json) as bar:
        history = History(files)
        history.read(bar)
        task = bar.add_task("replaying", total=len(history.raws))
        replayed = run(
            history.raws,
            policy.hash,
            body,
            tenant=settings.tenant,
            as_is=as_is,
            model=model,
            folded=lambda events: bar.update(task, completed=events),
        )
    _write(out, replayed, history)
    summary = replayed.summary()
    if as_json:
        emit(summary)
        return
    click.echo(", ".join(f"{count:,} {name}" for name, count in summary.items()))
    shadowed = [rule.id for rule in policy.rules if rule.mode == "shadow"]
    if shadowed and not summary["triggers"]:
        click.echo(f"no triggers: mode is shadow in {', '.join(shadowed)} (see decisions.jsonl)")
    click.echo(f"written to {out}/")


def _write(out: Path, replayed: Replayed, history: History) -> None:
    encode = msgspec.json.encode
    for topic, documents in replayed.outputs.items():
        _write_lines(out / f"{topic}.jsonl", documents)
    _write_lines(out / "users.jsonl", (encode(user_view(key, state)) for key, state in replayed.partition.states()))
    sums = sums_view(replayed.partition.cells.values)
    (out / "sums.json").write_bytes(msgspec.json.format(encode(sums), indent=2) + b"\n")
    _write_lines(out / "deadletters.jsonl", (encode(_dead(refused, history)) for refused in replayed.refused))


def _write_lines(path: Path, documents: Iterable[bytes]) -> None:
    with path.open("wb", buffering=1 << 20) as file:
        file.writelines(document + b"\n" for document in documents)


def _dead(refused: Refused, history: History) -> dict[str, object]:
    told = {name: refused.headers[name] for name in ("reason", "stage", "message")}
    return history.place(refused.number) | told | {"value": text_of(refused.value)}
