"""Topics on a broker: create them, compare them with `schemas.topics`, and say both in Kafka's own commands."""

import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient
from kafka.errors import (
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
    for_code,
)

from agents.exits import Exit, Refusal, no_broker
from agents.kafka.commands import Place, place_of
from agents.kafka.connection import quiet
from schemas.topics import (
    PARTITION_COUNTS,
    TOPICS,
    USERS,
    Setting,
    Topic,
)

_UNKNOWN = UnknownTopicOrPartitionError.errno


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
    place = place_of(client, prefix)
    if not partitions and all(answer["error_code"] == _UNKNOWN for answer in described.values()):
        return [Difference(prefix, f"none of the topics under {prefix!r} exist", place.create(), Exit.TOPICS)]
    differences: list[Difference] = []
    for topic in TOPICS:
        name = names[topic.name]
        if name not in present:
            answer = described.get(name)
            reason = for_code(answer["error_code"] if answer else _UNKNOWN)
            differences.append(_missing(name, reason, source, place))
            continue
        differences.extend(_partition_differences(topic, name, partitions[topic.name], source, place))
        if not configs.get(name):
            sentence = f"the settings of {name} can't be described: is DescribeConfigs granted?"
            differences.append(Difference(name, sentence, place.rights(), Exit.TOPICS))
            continue
        replicas = len(described[name]["partitions"][0]["replica_nodes"])
        for setting, wanted in _settings(topic, replicas).items():
            actual = configs[name].get(setting, {}).get("value")
            if actual is None or not wanted.allows(actual):
                differences.append(_setting_difference(name, setting, wanted, actual, place))
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
        mends = [difference.command for difference in differences]
        how = mends[0] if len(mends) == 1 else "`rekindle topics check` shows how to mend each"
        raise Refusal(differences[0].code, f"topics: {sentences}: {how}")


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


@contextmanager
def admin_client(client: Mapping[str, Any]) -> Iterator[Any]:
    """A kafka-python admin client that is closed afterwards, with its errors as refusals.

    Raises:
        Refusal: no broker answers within 10 s, or it refuses what is asked.
    """
    where = place_of(client, "").brokers
    try:
        with quiet("kafka"):  # the refusal says it, once
            admin = KafkaAdminClient(**{"bootstrap_timeout_ms": 10_000, "client_id": "rekindle-admin", **client})
        try:
            yield admin
        finally:
            admin.close()
    except (KafkaConnectionError, KafkaTimeoutError) as error:
        raise no_broker(where, error) from error
    except KafkaError as error:
        raise Refusal(Exit.NO_BROKER, f"the brokers {where} refuse: {error}") from error


def _settings(topic: Topic, replication: int) -> dict[str, Setting]:
    """The declared settings; with three copies or more, two of them have to hold a record before it counts."""
    settings = dict(topic.settings)
    if replication >= 3:
        settings["min.insync.replicas"] = Setting("2", "at least")
    return settings


def _missing(name: str, reason: type[KafkaError], source: int | None, place: Place) -> Difference:
    if reason is UnknownTopicOrPartitionError:
        return Difference(name, f"{name} does not exist", place.create(source), Exit.TOPICS)
    return Difference(name, f"{name} can't be described: {reason.__name__}", place.rights(), Exit.TOPICS)


def _partition_differences(
    topic: Topic, name: str, actual: int, source: int | None, place: Place
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
            place.kafka("kafka-topics.sh", "--alter", "--topic", name, "--partitions", str(wanted))
            if actual < wanted
            else f"{place.kafka('kafka-topics.sh', '--delete', '--topic', name)} && {place.create(source)}"
        )
        yield Difference(name, f"{name} has {actual} partitions instead of {wanted} ({why})", command, Exit.PARTITIONS)


def _setting_difference(name: str, setting: str, wanted: Setting, actual: str | None, place: Place) -> Difference:
    entity = ("--entity-type", "topics", "--entity-name", name)
    should = wanted.value if wanted.rule == "exactly" else f"{wanted.rule} {wanted.value}"
    return Difference(
        name,
        f"{name} has {setting}={actual} and should have {should}",
        place.kafka("kafka-configs.sh", "--alter", *entity, "--add-config", f"{setting}={wanted.value}"),
        Exit.TOPICS,
    )
