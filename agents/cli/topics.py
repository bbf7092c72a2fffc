"""`rekindle topics`: create them, or compare them with their declaration."""

from typing import Any

import click

from agents.cli.base import Group, as_json, emit, settings_of
from agents.erasure_key import make_erasure_key
from agents.exits import Exit, Refusal
from agents.kafka.admin import check_topics, create_commands, create_topics, partitions_there, plan
from agents.kafka.commands import acl_commands
from agents.kafka.connection import client_options
from agents.settings import Settings
from schemas.topics import DEFAULT_PARTITIONS, PARTITION_COUNTS, USERS


def _client(settings: Settings) -> dict[str, Any]:
    return {**client_options(settings), "bootstrap_timeout_ms": 5_000}


@click.group(cls=Group)
def topics() -> None:
    """Create the topics, or compare them with what they have to be."""


@topics.command()
@click.option("--dry-run", is_flag=True, help="Only print the commands that do it, and the ACLs that are needed.")
@click.option(
    "--partitions",
    type=click.Choice([str(count) for count in PARTITION_COUNTS]),
    help="Of the user topic; the most workers that can share it. It can't be changed later. By default as many as are "
    f"there, and {DEFAULT_PARTITIONS} in a new deployment.",
)
@click.option("--replication", type=click.IntRange(1), help="Copies of each partition; else the broker's default.")
@click.pass_context
def create(ctx: click.Context, *, dry_run: bool, partitions: str | None, replication: int | None) -> None:
    """Create what is missing, the key of erasures too; what exists is left as it is."""
    settings = settings_of(ctx)
    many = _partitions(settings, None if partitions is None else int(partitions), dry_run=dry_run)
    plans = plan(settings.topic_prefix, many, replication or -1)
    if dry_run:
        click.echo("# topics")
        click.echo("\n".join(create_commands(settings.brokers, plans)))
        click.echo("\n# who may do what; the principals are proposals")
        click.echo("\n".join(acl_commands(settings.brokers, settings.topic_prefix, settings.app_id)))
        return
    created = set(create_topics(_client(settings), plans))
    for topic in plans:
        done = "created" if topic.name in created else "exists"
        count = f"{topic.partitions} partition{'s' if topic.partitions > 1 else ''}" if done == "created" else ""
        click.echo(f"{done:8} {topic.name}  {count}".rstrip())
    if (key := make_erasure_key(settings)) is not None:
        click.echo(
            f"made     {key}: the key of erasures. Every worker needs this file; keep it apart from Kafka, for ever"
        )
    if len(created) < len(plans):
        click.echo("run `rekindle topics check`: what existed was not changed")


def _partitions(settings: Settings, wanted: int | None, *, dry_run: bool) -> int:
    """As many as are there: topics of another number could only be deleted again. Raises Refusal."""
    users = settings.topic(USERS.name)
    try:
        there = partitions_there(_client(settings), settings.topic_prefix)
    except Refusal as refusal:
        if not dry_run or refusal.code is not Exit.NO_BROKER:
            raise
        there = None  # commands for the day on which there are brokers
    if there is None:
        return wanted or DEFAULT_PARTITIONS
    if there not in PARTITION_COUNTS:
        line = f"{users} has {there} partitions, which do not divide 256: make a new topic, and ingest into it"
        raise Refusal(Exit.PARTITIONS, line)
    if wanted not in (None, there):
        line = f"the number of partitions under {settings.topic_prefix!r} is {there}, for ever: leave --partitions out"
        raise Refusal(Exit.PARTITIONS, f"{line}; {wanted} are for another deployment, under another --prefix")
    return there


@topics.command()
@as_json
@click.pass_context
def check(ctx: click.Context, *, as_json: bool) -> None:
    """Compare all topics with what they have to be; the exit code is that of a worker that refuses to start."""
    settings = settings_of(ctx)
    found = check_topics(_client(settings), settings.topic_prefix)
    if as_json:
        shown = [{"topic": d.topic, "difference": d.sentence, "command": d.command, "code": int(d.code)} for d in found]
        emit({"ok": not found, "differences": shown})
    elif not found:
        click.echo(f"all topics under {settings.topic_prefix!r} are as they have to be")
    for difference in () if as_json else found:
        click.echo(f"{difference.sentence}\n    {difference.command}")
    if found:
        ctx.exit(found[0].code)
