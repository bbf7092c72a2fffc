"""`rekindle dump`: all topics to files."""

from pathlib import Path

import click

from agents.cli.base import as_json, emit, run, settings_of
from agents.dump import write_dump


@click.command()
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder for the files.")
@click.option("--force", is_flag=True, help="Write over a dump that lies there.")
@as_json
@click.pass_context
def dump(ctx: click.Context, *, out: Path, force: bool, as_json: bool) -> None:
    """Write every topic into OUT as gzipped JSON lines: partition, offset, timestamp, key, value, headers.

    The state and the registry are written as the latest value of each key. `rekindle verify --dump OUT` checks it.
    """
    settings = settings_of(ctx)
    written = run(settings, write_dump(settings, out, force=force))
    if as_json:
        emit(written)
    else:
        click.echo(", ".join(f"{count:,} {name}" for name, count in written.items()))
        click.echo(f"written to {out}/; check it with: rekindle verify --dump {out}")
