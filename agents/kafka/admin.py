"""Topics on a broker: create them, compare them with `schemas.topics`, and say both in Kafka's own commands."""

import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient
from kafka.errors import KafkaConnectionError, KafkaError, KafkaTimeoutError, TopicAlreadyExistsError, for_code

from agents.exits import Exit, Refusal
from schemas.topics import (
    DEADLETTERS,
    DECISIONS,
    OUTCOMES,
    OUTPUTS,
    PARTITION_COUNTS,
    REGISTRY,
    SEGMENTS,
    STATE,
    TOPICS,
    TRIGGERS,
    USERS,
    Setting,
    Topic,
)


class Plan(NamedTuple):
    """A topic as it is to be on the broker."""

    name: str
    partitions: int
    replication: int
    settings: dict[str, str]
    purpose: str


class Difference(NamedTuple):
    """Where a broker departs from the plan: one sentence, what mends it, and the exit code of who refuses."""

    topic: str
    sentence: str
    command: str
    code: Exit


def plan(prefix: str, partitions: int, replication: int = -1) -> list[Plan]:
    """Every topic under a prefix, for a user topic of so many partitions; replication -1 is the broker's default.

    Raises:
        Refusal: the number of partitions does not divide 256.
    """
    if partitions not in PARTITION_COUNTS:
        counts = ", ".join(map(str, PARTITION_COUNTS))
        raise Refusal(Exit.USAGE, f"topics: {partitions} partitions do not divide 256; choose one of {counts}")
    return [
        Plan(
            prefix + topic.name,
            topic.partitions(partitions),
            replication,
            {name: setting.value for name, setting in _settings(topic, replication).items()},
            topic.purpose,
        )
        for topic in TOPICS
    ]


def create_topics(client: Mapping[str, Any], plans: Sequence[Plan]) -> list[str]:
    """Create what is missing, and wait until it can be used; what exists is left as it is (see `check_topics`).

    Args:
        client: keyword arguments for kafka-python: bootstrap_servers and security.
        plans: from `plan`.

    Returns:
        Names of the topics that were created.

    Raises:
        Refusal: no broker, no permission, or the broker refuses a topic.
    """
    wanted = {
        p.name: {"num_partitions": p.partitions, "replication_factor": p.replication, "configs": p.settings}
        for p in plans
    }
    with admin_client(client) as admin:
        answers = admin.create_topics(wanted, raise_errors=False)["topics"]
        created = []
        for answer in answers:
            if answer["error_code"] == 0:
                created.append(str(answer["name"]))
            elif answer["error_code"] != TopicAlreadyExistsError.errno:
                error = for_code(answer["error_code"])
                reason = answer["error_message"] or error.description
                raise Refusal(Exit.TOPICS, f"topics: the broker refuses to create {answer['name']}: {reason}")
        admin.wait_for_topics(list(wanted), timeout_ms=30_000)
    return created


def delete_topics(client: Mapping[str, Any], prefix: str) -> None:
    """Delete every topic of Rekindle under this prefix, with all that is in them; returns when they are gone."""
    ours = {prefix + topic.name for topic in TOPICS}
    with admin_client(client) as admin:
        if present := ours.intersection(admin.list_topics()):
            admin.delete_topics(sorted(present))
        end = time.monotonic() + 30
        while left := ours.intersection(admin.list_topics()):  # the answer comes before the broker's view of it
            if time.monotonic() > end:
                raise Refusal(Exit.TOPICS, f"topics: {', '.join(sorted(left))} still there 30 s after their deletion")
            time.sleep(0.05)


def partitions_there(client: Mapping[str, Any], prefix: str) -> int | None:
    """Partitions of the user topic, else of the others that go by it; None: there are none, or they disagree.

    Raises:
        Refusal: no broker, or no permission to look.
    """
    names = {prefix + topic.name: topic for topic in TOPICS}
    with admin_client(client) as admin:
        answers = [answer for answer in admin.describe_topics(list(names)) if answer["error_code"] == 0]
    return _source({names[answer["name"]].name: len(answer["partitions"]) for answer in answers})


def _source(partitions: Mapping[str, int]) -> int | None:
    """How many partitions a deployment has, by those of its topics, named without the prefix."""
    if USERS.name in partitions:
        return partitions[USERS.name]
    others = {partitions[topic.name] for topic in TOPICS if topic.name in partitions and not topic.single}
    return others.pop() if len(others) == 1 else None


def check_topics(client: Mapping[str, Any], prefix: str) -> list[Difference]:
    """Compare every topic under a prefix with its declaration; an empty list means that a worker may start.

    The number of partitions is the user topic's own: it has to divide 256, and the others have to follow it.

    Raises:
        Refusal: no broker, or no permission to look.
    """
    names = {topic.name: prefix + topic.name for topic in TOPICS}
    with admin_client(client) as admin:
        described = {answer["name"]: answer for answer in admin.describe_topics(list(names.values()))}
        present = {name for name, answer in described.items() if answer["error_code"] == 0}
        resources = [
            ConfigResource(ConfigResourceType.TOPIC, prefix + topic.name, list(_settings(topic, 3)))
            for topic in TOPICS
            if prefix + topic.name in present
        ]
        configs = admin.describe_configs(resources, config_filter="all").get("topic", {}) if resources else {}
    partitions = {name: len(described[names[name]]["partitions"]) for name in names if names[name] in present}
    source = _source(partitions)
    create = f"rekindle topics create{f' --partitions {source}' if source else ''}"
    differences: list[Difference] = []
    for topic in TOPICS:
        name = names[topic.name]
        if name not in present:
            answer = described.get(name)
            reason = for_code(answer["error_code"]).__name__ if answer else "UnknownTopicOrPartitionError"
            differences.append(_missing(name, reason, create))
            continue
        differences.extend(_partition_differences(topic, name, partitions[topic.name], source, create))
        if not configs.get(name):
            sentence = f"the settings of {name} can't be described: is DescribeConfigs granted?"
            differences.append(Difference(name, sentence, "rekindle topics create --dry-run", Exit.TOPICS))
            continue
        replicas = len(described[name]["partitions"][0]["replica_nodes"])
        for setting, wanted in _settings(topic, replicas).items():
            actual = configs[name].get(setting, {}).get("value")
            if actual is None or not wanted.allows(actual):
                differences.append(_setting_difference(name, setting, wanted, actual))
    return differences


def topic_settings(client: Mapping[str, Any], prefix: str, topics: Sequence[Topic]) -> dict[str, dict[str, str]]:
    """The settings of topics as they are on the broker, by their names without the prefix.

    Raises:
        Refusal: no broker, or they may not be described.
    """
    with admin_client(client) as admin:
        resources = [ConfigResource(ConfigResourceType.TOPIC, prefix + topic.name) for topic in topics]
        found = admin.describe_configs(resources, config_filter="all").get("topic", {})
    settings = {}
    for topic in topics:
        if not (told := found.get(prefix + topic.name)):
            line = f"the settings of {prefix}{topic.name} can't be described: is DescribeConfigs granted?"
            raise Refusal(Exit.TOPICS, line)
        settings[topic.name] = {name: str(entry.get("value")) for name, entry in told.items()}
    return settings


def refuse_differences(differences: Sequence[Difference]) -> None:
    """Nothing if there are none.

    Raises:
        Refusal: with all of them in one line and the code of the first.
    """
    if differences:
        sentences = "; ".join(difference.sentence for difference in differences)
        raise Refusal(differences[0].code, f"topics: {sentences}. `rekindle topics check` shows how to mend it")


def create_commands(bootstrap: str, plans: Sequence[Plan]) -> list[str]:
    """What `create_topics` does, as lines of kafka-topics.sh."""
    lines = []
    for p in plans:
        words = ["kafka-topics.sh", "--bootstrap-server", bootstrap, "--create", "--if-not-exists", "--topic", p.name]
        words += ["--partitions", str(p.partitions)]
        words += ["--replication-factor", str(p.replication)] if p.replication > 0 else []
        for name, value in p.settings.items():
            words += ["--config", f"{name}={value}"]
        lines.append(shlex.join(words))
    return lines


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


@contextmanager
def admin_client(client: Mapping[str, Any]) -> Iterator[Any]:
    """A kafka-python admin client that is closed afterwards, with its errors as refusals.

    Raises:
        Refusal: no broker answers within 10 s, or it refuses what is asked.
    """
    servers = client["bootstrap_servers"]
    where = servers if isinstance(servers, str) else ",".join(servers)
    try:
        admin = KafkaAdminClient(**{"bootstrap_timeout_ms": 10_000, "client_id": "rekindle-admin", **client})
        try:
            yield admin
        finally:
            admin.close()
    except (KafkaConnectionError, KafkaTimeoutError) as error:
        reason = str(error) or type(error).__name__
        line = f"no answer from the brokers {where} ({reason}); check REKINDLE_BROKERS"
        raise Refusal(Exit.NO_BROKER, line) from error
    except KafkaError as error:
        raise Refusal(Exit.NO_BROKER, f"the brokers {where} refuse: {error}") from error


def _settings(topic: Topic, replication: int) -> dict[str, Setting]:
    """The declared settings; with three copies or more, two of them have to hold a record before it counts."""
    settings = dict(topic.settings)
    if replication >= 3:
        settings["min.insync.replicas"] = Setting("2", "at least")
    return settings


def _missing(name: str, reason: str, create: str) -> Difference:
    if reason == "UnknownTopicOrPartitionError":
        return Difference(name, f"{name} does not exist", create, Exit.TOPICS)
    return Difference(name, f"{name} can't be described: {reason}", "rekindle topics create --dry-run", Exit.TOPICS)


def _partition_differences(
    topic: Topic, name: str, actual: int, source: int | None, create: str
) -> Iterator[Difference]:
    if topic is USERS:
        if actual not in PARTITION_COUNTS:
            more = next((count for count in PARTITION_COUNTS if count > actual), None)
            sentence = f"{name} has {actual} partitions, which do not divide 256"
            command = "make a new topic and ingest into it" + (f" (nearest: {more})" if more else "")
            yield Difference(name, sentence, command, Exit.PARTITIONS)
    elif source and actual != topic.partitions(source):
        wanted = topic.partitions(source)
        why = "it has one partition by its nature" if topic.single else "as many as the user topic"
        command = (
            f"kafka-topics.sh --alter --topic {name} --partitions {wanted}"
            if actual < wanted
            else f"delete {name} and run: {create}"
        )
        yield Difference(name, f"{name} has {actual} partitions instead of {wanted} ({why})", command, Exit.PARTITIONS)


def _setting_difference(name: str, setting: str, wanted: Setting, actual: str | None) -> Difference:
    should = wanted.value if wanted.rule == "exactly" else f"{wanted.rule} {wanted.value}"
    return Difference(
        name,
        f"{name} has {setting}={actual} and should have {should}",
        f"kafka-configs.sh --alter --entity-type topics --entity-name {name} --add-config {setting}={wanted.value}",
        Exit.TOPICS,
    )
