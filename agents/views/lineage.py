"""Which Kafka and which topics there are now, by their ids."""

from kafka.admin import ConfigResource, ConfigResourceType

from agents.exits import Exit, Refusal
from agents.kafka.admin import admin_client
from agents.kafka.commands import Place
from agents.kafka.connection import client_options
from agents.settings import Settings
from agents.views.store import Lineage
from schemas.topics import DECISIONS, REGISTRY, STATE

_TOPICS = (STATE, REGISTRY, DECISIONS)
_RETENTION = "delete.retention.ms"


def read_lineage(settings: Settings) -> tuple[Lineage, int]:
    """The lineage, and how long the state topic keeps a tombstone (ms).

    Raises:
        Refusal: no broker, or a topic is missing.
    """
    names = {topic.name: settings.topic(topic.name) for topic in _TOPICS}
    with admin_client(client_options(settings)) as admin:
        cluster = str(admin.describe_cluster()["cluster_id"])
        described = {answer["name"]: answer for answer in admin.describe_topics(list(names.values()))}
        for name in names.values():
            if described.get(name, {}).get("error_code", 3):
                raise Refusal(
                    Exit.TOPICS,
                    f"topic {name} does not exist; run: {Place(settings.brokers, settings.topic_prefix).create()}",
                )
        resource = ConfigResource(ConfigResourceType.TOPIC, names[STATE.name], [_RETENTION])
        found = admin.describe_configs([resource], config_filter="all")["topic"][names[STATE.name]]
    ids = {short: str(described[full]["topic_id"]) for short, full in names.items()}
    lineage = Lineage(cluster, ids, len(described[names[STATE.name]]["partitions"]))
    return lineage, int(found[_RETENTION]["value"])
