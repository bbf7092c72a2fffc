"""The command line: `rekindle COMMAND`. One module for each command or group, imported when asked for."""

import os
from importlib import import_module
from typing import Final

import click

from agents.cli.base import Group, Overrides
from agents.settings import unknown_settings

# Name -> module and one line for `rekindle --help`, in the order in which a newcomer meets them.
COMMANDS: Final = {
    "demo": ("demo", "A real Kafka, two workers and a purchase history in this terminal."),
    "up": ("up", "The whole stack on this machine, in live time: Kafka, workers, Redis, views, API."),
    "worker": ("worker", "Fold the user topic: state, triggers, decisions and outcomes."),
    "views": ("views", "Keep the views in Redis, for the API and the command line."),
    "api": ("api", "Serve users, sums and decisions over HTTP."),
    "topics": ("topics", "Create the topics, or compare them with what they have to be."),
    "send": ("send", "Check events in a file and append them to the user topic."),
    "ingest": ("ingest", "Bridge a topic that others own into the user topic, by a mapping."),
    "tail": ("tail", "Show triggers, decisions, outcomes, segments, erasures or dead letters."),
    "user": ("user", "Show a user: activity, risk, channel, what falls due next."),
    "explain": ("explain", "Why a user is recalled or not, gate by gate; or why a trigger was sent."),
    "report": ("report", "Show a report: channels, growth, decisions, recall, calibration, perks, drivers, reasons."),
    "policy": ("policy", "Check, compare, publish, list and roll back policies."),
    "model": ("model", "Publish, list, roll back or retire the churn model."),
    "perks": ("perks", "Lease budgets of perks to the slots of users."),
    "quantiles": ("quantiles", "Publish who is at the top of a feature, for segments and tiers."),
    "relay": ("relay", "Post triggers to an HTTP address, and report back what became of each."),
    "pause": ("control", "Send nothing, by one rule or by all."),
    "resume": ("control", "End a pause."),
    "hold": ("control", "The source is down: from now on silence does not count."),
    "release": ("control", "The source speaks again: silence counts."),
    "skip": ("control", "Make a record that the core fails on a dead letter."),
    "adopt-core": ("control", "End a rolling upgrade: the log means what the newer release says."),
    "deadletters": ("deadletters", "List what was refused, or send it again."),
    "replay": ("replay", "Run a history from files through the core; what would have happened."),
    "backtest": ("backtest", "What a policy would have done with a history: figures, a sweep, a picture."),
    "fit": ("churn", "Learn a churn model from a history; its figures out of time, its pictures."),
    "evaluate": ("churn", "Compare all churn models on a history, out of time."),
    "erase": ("erase", "Forget a user, with a certificate; nothing of before comes back."),
    "certificate": ("erase", "Show how far the erasure of a user has come."),
    "dump": ("dump", "Write all topics to files."),
    "snapshot": ("snapshot", "Write the state and the registry to files; verify such files."),
    "restore": ("snapshot", "Write a snapshot into an empty deployment."),
    "rebuild": ("snapshot", "Write a lost state anew, from a snapshot and the log."),
    "verify": ("verify", "Replay the log and compare it with the state and all outputs."),
    "doctor": ("doctor", "Look at this machine, the brokers, the topics and the policy."),
}


class Commands(Group):
    """The commands by name; only the one that is asked for is imported."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 click's signature
        """All names."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command, None if there is none of this name."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"agents.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List them without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--brokers", metavar="HOST:PORT,..", help="Kafka to use; else REKINDLE_BROKERS, else 127.0.0.1:9092.")
@click.option("--prefix", metavar="TEXT", help="Of topic names; else REKINDLE_TOPIC_PREFIX, else 'rekindle.'.")
@click.version_option(package_name="rekindle")
@click.pass_context
def main(ctx: click.Context, brokers: str | None, prefix: str | None) -> None:
    """Recall triggers for dormant users, and what acquisition channels are worth: exactly once, from the event stream.

    All other settings come from the environment (REKINDLE_*). Exit codes: 0 done, 1 a bug or a check that failed,
    2 usage or input, 10 no broker, 11-21 why a process refuses to run.
    """
    ctx.obj = Overrides(brokers, prefix)
    for line in unknown_settings(os.environ):
        click.echo(f"rekindle: {line}", err=True)
