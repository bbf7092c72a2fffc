from typing import Any

import pytest

from agents.exits import Exit, Refusal
from agents.kafka.admin import (
    admin_client,
    check_topics,
    create_topics,
    delete_topics,
    plan,
    refuse_differences,
)
from agents.local import LocalKafka
from agents.process import free_port
from schemas.topics import TOPICS


def test_created_topics_pass_their_check_and_a_second_create_changes_nothing(kafka: LocalKafka, prefix: str) -> None:
    client = {"bootstrap_servers": kafka.bootstrap}
    assert create_topics(client, plan(prefix, 4)) == [prefix + topic.name for topic in TOPICS]
    assert check_topics(client, prefix) == []
    assert create_topics(client, plan(prefix, 4)) == []
    delete_topics(client, prefix)
    assert {difference.code for difference in check_topics(client, prefix)} == {Exit.TOPICS}


def test_check_names_each_difference_and_what_mends_it(kafka: LocalKafka, prefix: str) -> None:
    client = {"bootstrap_servers": kafka.bootstrap}
    with admin_client(client) as admin:
        topics: dict[str, Any] = {
            p.name: {"num_partitions": p.partitions, "configs": p.settings} for p in plan(prefix, 8)
        }
        topics[prefix + "decisions"]["num_partitions"] = 2
        topics[prefix + "registry"]["num_partitions"] = 2
        del topics[prefix + "outcomes"]
        topics[prefix + "users"]["configs"] |= {
            "message.timestamp.type": "CreateTime",
            "retention.ms": "-1",
            "max.message.bytes": "1000",
        }
        topics[prefix + "state"]["configs"] |= {"segment.bytes": "1073741824"}
        topics[prefix + "triggers"]["configs"] |= {"retention.ms": "86400000"}  # stricter is an operator's right
        admin.create_topics(topics, wait_for_metadata=True)
    differences = check_topics(client, prefix)
    assert {d.sentence for d in differences} == {
        f"{prefix}users has message.timestamp.type=CreateTime and should have LogAppendTime",
        f"{prefix}users has retention.ms=-1 and should have at most 2592000000",
        f"{prefix}users has max.message.bytes=1000 and should have at least 2097152",
        f"{prefix}decisions has 2 partitions instead of 8 (as many as the user topic)",
        f"{prefix}outcomes does not exist",
        f"{prefix}state has segment.bytes=1073741824 and should have at most 67108864",
        f"{prefix}registry has 2 partitions instead of 1 (it has one partition by its nature)",
    }
    run = f"--bootstrap-server {kafka.bootstrap}"
    create = f"rekindle --brokers {kafka.bootstrap} --prefix {prefix} topics create --partitions 8"
    assert {d.command for d in differences if d.topic.endswith(("outcomes", "decisions", "registry"))} == {
        create,
        f"kafka-topics.sh {run} --alter --topic {prefix}decisions --partitions 8",
        f"kafka-topics.sh {run} --delete --topic {prefix}registry && {create}",
    }
    mend = {d.sentence.split(" has ")[1].split("=")[0]: d.command for d in differences if "segment" in d.sentence}
    assert mend["segment.bytes"] == (
        f"kafka-configs.sh {run} --alter --entity-type topics --entity-name {prefix}state "
        "--add-config segment.bytes=67108864"
    )
    assert {d.code for d in differences if "partitions" in d.sentence} == {Exit.PARTITIONS}
    with pytest.raises(Refusal, match=r"CreateTime and should have LogAppendTime.*rekindle topics check"):
        refuse_differences(differences)


def test_a_user_topic_whose_partitions_do_not_divide_256_is_a_difference(kafka: LocalKafka, prefix: str) -> None:
    client = {"bootstrap_servers": kafka.bootstrap}
    with admin_client(client) as admin:
        topics = {
            p.name: {"num_partitions": 1 if p.name.endswith("registry") else 3, "configs": p.settings}
            for p in plan(prefix, 4)
        }
        admin.create_topics(topics, wait_for_metadata=True)
    (difference,) = check_topics(client, prefix)
    assert difference.sentence == f"{prefix}users has 3 partitions, which do not divide 256"
    assert difference.code is Exit.PARTITIONS


def test_no_broker_is_one_readable_line() -> None:
    where = f"127.0.0.1:{free_port()}"
    with pytest.raises(Refusal, match=rf"^no broker answers at {where}: check --brokers") as refusal:
        check_topics({"bootstrap_servers": where, "bootstrap_timeout_ms": 1000}, "x.")
    assert refusal.value.code is Exit.NO_BROKER
