"""Commands that a person is told to run, whole: of Kafka and of Rekindle, for the deployment that is meant."""

import shlex
from collections.abc import Mapping
from typing import Any, NamedTuple

from agents.settings import DEFAULT_BROKERS
from schemas.topics import (
    DEADLETTERS,
    DECISIONS,
    DEFAULT_PREFIX,
    OUTCOMES,
    OUTPUTS,
    PARTITION_COUNTS,
    REGISTRY,
    SEGMENTS,
    STATE,
    TOPICS,
    TRIGGERS,
    USERS,
    Topic,
)


class Place(NamedTuple):
    """Where a deployment is: brokers, separated by commas, and prefix."""

    brokers: str
    prefix: str

    def kafka(self, script: str, *words: str) -> str:
        """A command line of one of Kafka's scripts."""
        return shlex.join([script, "--bootstrap-server", self.brokers, *words])

    def rekindle(self, *words: str) -> str:
        """A command line of ours; what is so by default is left out."""
        brokers = [] if self.brokers == DEFAULT_BROKERS else ["--brokers", self.brokers]
        prefix = [] if self.prefix == DEFAULT_PREFIX else ["--prefix", self.prefix]
        return shlex.join(["rekindle", *brokers, *prefix, *words])

    def create(self, partitions: int | None = None) -> str:
        """Makes the topics that are missing in a deployment of so many partitions; None: in a new one."""
        many = ["--partitions", str(partitions)] if partitions in PARTITION_COUNTS else []
        return self.rekindle("topics", "create", *many)

    def rights(self) -> str:
        """Says which rights are needed."""
        return self.rekindle("topics", "create", "--dry-run")


def place_of(client: Mapping[str, Any], prefix: str) -> Place:
    """By the keyword arguments of a client."""
    servers = client["bootstrap_servers"]
    return Place(servers if isinstance(servers, str) else ",".join(servers), prefix)


def acl_commands(
    bootstrap: str, prefix: str, app_id: str, *, worker: str = "User:rekindle", backend: str = "User:backend"
) -> list[str]:
    """What each party may do, as lines of kafka-acls.sh: the worker, a publisher of policies, models and leases, the
    backend, a subscriber, and an operator who looks (doctor, topics check, tail, report, dump, verify) and changes
    nothing.

    Writing to the user topic includes writing ticks and control messages: give it only to who may stop sending.
    """
    publisher, subscriber, operator = "User:rekindle-publisher", "User:rekindle-subscriber", "User:rekindle-operator"
    everybody = "*"
    grants: list[tuple[str, list[str], list[str]]] = []

    def topic(who: str, operations: str, *topics: Topic) -> None:
        names = [word for t in topics for word in ("--topic", prefix + t.name)]
        grants.append((who, operations.split(), names))

    def other(who: str, operations: str, *resource: str) -> None:
        grants.append((who, operations.split(), list(resource)))

    topic(worker, "Read Write Describe DescribeConfigs", USERS, STATE)
    topic(worker, "Write Describe DescribeConfigs", *OUTPUTS)
    topic(worker, "Read Describe DescribeConfigs", REGISTRY)
    other(worker, "Read", "--group", app_id)
    other(worker, "Write Describe", "--transactional-id", app_id, "--resource-pattern-type", "prefixed")
    topic(publisher, "Write Describe", USERS)
    topic(publisher, "Read Write Describe", REGISTRY)
    topic(publisher, "Read Describe", STATE)  # what perks have spent
    other(publisher, "Write Describe", "--transactional-id", publisher_id(app_id, prefix))
    topic(backend, "Write Describe", USERS)
    topic(subscriber, "Read Describe", TRIGGERS, DECISIONS, OUTCOMES, SEGMENTS, DEADLETTERS)
    other(subscriber, "Read", "--group", everybody)
    topic(operator, "Read Describe DescribeConfigs", *TOPICS)
    other(operator, "Describe", "--group", app_id)
    return [
        shlex.join(
            ["kafka-acls.sh", "--bootstrap-server", bootstrap, "--add", "--allow-principal", who]
            + [word for operation in operations for word in ("--operation", operation)]
            + resource
        )
        for who, operations, resource in grants
    ]


def publisher_id(app_id: str, prefix: str) -> str:
    """The transactional id of whoever publishes: one for all, so that the later one fences the earlier."""
    return f"{app_id}-{prefix}{USERS.name}-publisher"
