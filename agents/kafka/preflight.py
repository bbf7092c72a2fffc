"""Before joining the group: are there brokers, and are the topics there as declared?"""

from collections.abc import Mapping
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaConnectionError, KafkaError

from agents.exits import Exit, Refusal
from schemas.topics import PARTITION_COUNTS, TOPICS, USERS


async def check_topics(options: Mapping[str, Any], prefix: str) -> int:
    """Check every topic's existence, partitions and settings.

    Args:
        options: of `client_options`.
        prefix: before the name of every topic.

    Returns:
        The number of partitions of the user topic.

    Raises:
        Refusal: what differs first, and what to do.
    """
    admin = AIOKafkaAdminClient(**options, request_timeout_ms=15_000)
    try:
        await admin.start()
        names = [prefix + topic.name for topic in TOPICS]
        described = {topic["topic"]: topic for topic in await admin.describe_topics(names)}
        present = {name: topic["partitions"] for name, topic in described.items() if not topic["error_code"]}
        missing = [name for name in names if name not in present]
        if missing:
            raise Refusal(Exit.TOPICS, f"missing topic {', '.join(missing)}: create with `rekindle topics create`")
        count = len(present[prefix + USERS.name])
        _check_counts({name: len(partitions) for name, partitions in present.items()}, count, prefix)
        responses = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names])
        _check_settings(responses, prefix)
    except KafkaConnectionError as error:
        brokers = ", ".join(options["bootstrap_servers"])
        raise Refusal(Exit.NO_BROKER, f"no broker answers at {brokers} ({error}): is REKINDLE_BROKERS right, is Kafka up?") from None
    except KafkaError as error:
        raise Refusal(Exit.NO_BROKER, f"the topics can't be looked at: {error!r}") from error
    finally:
        await admin.close()
    return count


def _check_counts(present: Mapping[str, int], count: int, prefix: str) -> None:
    if count not in PARTITION_COUNTS:
        line = f"{prefix}{USERS.name} has {count} partitions: the number must divide 256"
        raise Refusal(Exit.PARTITIONS, line)
    for topic in TOPICS:
        wanted, found = topic.partitions(count), present[prefix + topic.name]
        if found != wanted:
            line = f"{prefix}{topic.name} has {found} partitions, {wanted} are needed: as many as {prefix}{USERS.name}; recreate it"
            raise Refusal(Exit.PARTITIONS, line)


def _check_settings(responses: Any, prefix: str) -> None:
    declared = {prefix + topic.name: topic for topic in TOPICS}
    for response in responses:
        for _code, _message, _type, name, entries in response.resources:
            actual = {entry[0]: entry[1] for entry in entries}
            for key, setting in declared[name].settings.items():
                if key not in actual or not setting.allows(actual[key]):
                    rule = "" if setting.rule == "exactly" else setting.rule + " "
                    line = (
                        f"{name}: {key} is {actual.get(key)}, must be {rule}{setting.value}; "
                        f"kafka-configs.sh --alter --entity-type topics --entity-name {name} --add-config {key}={setting.value}"
                    )
                    raise Refusal(Exit.TOPICS, line)
