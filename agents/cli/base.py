"""What all commands share: settings, readable errors, an event loop, JSON or a table."""

import asyncio
import logging
import os
import sys
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import IO, Any, NamedTuple, TypeVar, get_args

import click
import msgspec
from click.exceptions import NoArgsIsHelpError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from agents.exits import Exit, Refusal, no_broker
from agents.kafka.commands import Place
from agents.settings import Settings, load_settings
from pipeline.wording import Language

T = TypeVar("T")


class Overrides(NamedTuple):
    """Options before the command; they win over the environment."""

    brokers: str | None = None
    prefix: str | None = None


class Failure(click.ClickException):
    """A refusal, as click ends a command: one line on stderr and its exit code."""

    def __init__(self, code: int, line: str) -> None:
        super().__init__(line)
        self.exit_code = code

    def show(self, file: IO[Any] | None = None) -> None:
        """One line: what is wrong, where, what to do."""
        click.echo(f"rekindle: {self.message}", file=file or sys.stderr)


class Misuse(click.UsageError):
    """A usage error, said as every other refusal is: in one line, with where to look."""

    def show(self, file: IO[Any] | None = None) -> None:
        """One line."""
        said = " ".join(self.format_message().split()).rstrip(".")
        see = f"; see `{self.ctx.command_path} --help`" if self.ctx else ""
        click.echo(f"rekindle: {said[:1].lower()}{said[1:]}{see}", file=file or sys.stderr)


@contextmanager
def _in_a_line() -> Iterator[None]:
    """Usage errors of click become ours; a group without a command still shows its help."""
    try:
        yield
    except (Misuse, NoArgsIsHelpError):
        raise
    except click.UsageError as error:
        misuse = Misuse(error.format_message(), error.ctx)
        raise misuse from error


class Group(click.Group):
    """A group whose errors help: the nearest name of an unknown command, a refusal as a line and its code."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """Read the options before the command."""
        with _in_a_line():
            return super().make_context(*args, **extra)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or name the nearest."""
        name = args[0] if args else ""
        if args and not name.startswith("-") and self.get_command(ctx, name) is None:
            near = get_close_matches(name, self.list_commands(ctx), n=1, cutoff=0.5)
            hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(self.list_commands(ctx))}"
            raise click.UsageError(f"no command '{name}'; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            with _in_a_line():
                return super().invoke(ctx)
        except Refusal as refusal:
            raise Failure(refusal.code, refusal.line) from refusal
        except BrokenPipeError:  # `rekindle tail ... | head`: nobody listens any more
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(Exit.OK)
        except (click.ClickException, click.Abort, click.exceptions.Exit):
            raise
        except Exception as error:
            if os.environ.get("REKINDLE_LOG_LEVEL") == "debug":
                raise
            line = f"unexpected {type(error).__name__}: {error}; REKINDLE_LOG_LEVEL=debug shows where"
            raise Failure(Exit.BUG, line) from error


def settings_of(ctx: click.Context, **overrides: object) -> Settings:
    """Settings from the environment and the options before the command. Raises Refusal."""
    given = ctx.find_object(Overrides) or Overrides()
    settings = load_settings(brokers=given.brokers, topic_prefix=given.prefix, **overrides)
    if settings.log_level != "debug":  # the clients' own lines, and what they forget to ask: a refusal says it better
        for name in ("aiokafka", "kafka", "asyncio"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    return settings


def run(settings: Settings, work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that talks to Kafka.

    Raises:
        Refusal: no broker, or it refuses what is asked.
    """
    from aiokafka.errors import KafkaConnectionError, KafkaError, UnknownTopicOrPartitionError  # noqa: PLC0415 0.1 s

    try:
        return asyncio.run(work)
    except KafkaConnectionError as error:
        raise no_broker(settings.brokers, error) from error
    except UnknownTopicOrPartitionError as error:
        create = Place(settings.brokers, settings.topic_prefix).create()
        line = f"no such topic under the prefix {settings.topic_prefix!r}; run: {create}"
        raise Refusal(Exit.TOPICS, line) from error
    except KafkaError as error:
        raise Refusal(Exit.NO_BROKER, f"the brokers at {settings.brokers} refuse: {error!r}") from error


def emit(value: Any) -> None:
    """Print one JSON document on one line."""
    click.echo(msgspec.json.encode(value, order="deterministic").decode())


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under headings; on a pipe nothing is cut to the width of a terminal."""
    console = Console(width=None if sys.stdout.isatty() else 400, highlight=False)
    drawn = Table(*headings, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        drawn.add_row(*(str(cell) for cell in row))
    console.print(drawn)


@contextmanager
def progress(*, quiet: bool = False) -> Iterator[Progress]:
    """A progress bar on stderr, only where somebody looks at it."""
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=quiet or not console.is_terminal,
    )
    with bar:
        yield bar


as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")
language = click.option(
    "--lang", type=click.Choice(get_args(Language)), help="Of the words that say why; REKINDLE_LANG by default."
)
again = click.option(
    "--again", is_flag=True, help="Also if it is the current one: deadlines before this adoption are passed over."
)


def is_current(
    registry: Mapping[str, bytes], published: Sequence[str], wanted: str, what: str, *, as_json: bool
) -> bool:
    """Whether partitions go by `wanted` already, of those published, the latest last; said then. To adopt it anew would
    pass over the deadlines that lie before. With its body lost it is not: publishing brings that back.
    """
    if not published or published[-1] != wanted or f"{what}/{wanted}" not in registry:
        return False
    if as_json:
        emit({"published": False, what: wanted})
    else:
        click.echo(f"{wanted} is the current {what} already; nothing was published")
    return True


def earlier(
    registry: Mapping[str, bytes], published: Sequence[str], digest: str | None, what: str, see: str
) -> tuple[str, bytes]:
    """What to go back to, its hash and body, of those published, the latest last ("": none was used then): the one that
    begins with `digest`, else the latest that is not the current. Raises Refusal: there is no single one (`rekindle
    <what> <see>` lists them), or its body is lost.
    """
    if not published:
        raise Refusal(Exit.USAGE, f"no {what} was published yet: there is nothing to go back to")
    hashes = [name for name in dict.fromkeys(reversed(published)) if name]
    wanted = [h for h in hashes if (h.startswith(digest.lower()) if digest else h != published[-1])]
    if not wanted or (digest and len(wanted) > 1):
        reason = f"more than one begins with {digest}" if wanted else "there is no other"
        raise Refusal(Exit.USAGE, f"no single {what} to go back to: {reason}; see `rekindle {what} {see}`")
    body = registry.get(f"{what}/{wanted[0]}")
    if body is None:
        raise Refusal(Exit.POLICY, f"the registry has lost the body of {wanted[0]}; publish its file instead")
    return wanted[0], body
