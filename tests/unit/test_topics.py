import pytest

from agents.exits import Exit, Refusal
from agents.kafka.admin import create_commands, plan
from agents.kafka.commands import acl_commands, place_of
from schemas.topics import (
    COMPLETE_WITHIN,
    DEFAULT_PREFIX,
    ERASURES,
    REGISTRY,
    STATE,
    TOPICS,
    USERS,
    Setting,
    gone_within,
)


def test_every_topic_goes_by_the_brokers_time() -> None:
    assert all(topic.settings["message.timestamp.type"] == Setting("LogAppendTime") for topic in TOPICS)


def test_only_tables_are_compacted_and_streams_end_within_30_days() -> None:
    for topic in TOPICS:
        if topic is ERASURES:  # certificates name nobody, and are to last
            assert topic.settings["retention.ms"].allows("-1")
        elif topic in (STATE, REGISTRY):
            assert topic.settings["cleanup.policy"] == Setting("compact")
            assert "retention.ms" not in topic.settings
        else:
            assert topic.settings["cleanup.policy"] == Setting("delete")
            assert topic.settings["retention.ms"] == Setting(str(30 * 86_400_000), "at most")


def test_the_last_of_a_user_is_gone_when_every_topic_has_let_go() -> None:
    day, slack = 86_400_000, 2 * 3_600_000
    streams = {"cleanup.policy": "delete", "retention.ms": str(30 * day), "segment.ms": str(day)}
    table = {"cleanup.policy": "compact", "max.compaction.lag.ms": str(day), "delete.retention.ms": str(40 * day)}
    assert COMPLETE_WITHIN == gone_within(streams) == 31 * day + slack
    assert gone_within(table) == 42 * day + slack
    assert gone_within({**streams, "retention.ms": "-1"}) is None


@pytest.mark.parametrize(
    ("setting", "actual", "allowed"),
    [
        (Setting("compact"), "compact", True),
        (Setting("compact"), "compact,delete", False),
        (Setting("100", "at most"), "100", True),
        (Setting("100", "at most"), "101", False),
        (Setting("100", "at most"), "-1", False),
        (Setting("100", "at least"), "-1", True),
        (Setting("100", "at least"), "99", False),
        (Setting("0.1", "at most"), "0.05", True),
    ],
)
def test_an_operator_may_move_a_setting_only_to_the_safe_side(setting: Setting, actual: str, allowed: bool) -> None:
    assert setting.allows(actual) is allowed


def test_the_registry_has_one_partition_and_the_others_as_many_as_the_users() -> None:
    counts = {p.name: p.partitions for p in plan("x.", 16)}
    assert counts.pop("x.registry") == 1
    assert set(counts.values()) == {16}


@pytest.mark.parametrize("partitions", [0, 3, 12, 512, -1])
def test_partitions_that_do_not_divide_256_are_refused(partitions: int) -> None:
    with pytest.raises(Refusal, match="do not divide 256") as refusal:
        plan("x.", partitions)
    assert refusal.value.code is Exit.USAGE


def test_three_copies_ask_for_two_in_sync() -> None:
    assert all(p.settings["min.insync.replicas"] == "2" for p in plan("x.", 8, replication=3))
    assert not any("min.insync.replicas" in p.settings for p in plan("x.", 8))


def test_create_commands_say_what_is_created() -> None:
    lines = create_commands("broker:9092", plan(DEFAULT_PREFIX, 8, replication=3))
    assert len(lines) == len(TOPICS)
    users = lines[TOPICS.index(USERS)]
    assert users.startswith(
        "kafka-topics.sh --bootstrap-server broker:9092 --create --if-not-exists --topic rekindle.users --partitions 8 "
        "--replication-factor 3 "
    )
    assert "--config message.timestamp.type=LogAppendTime" in users


def test_acls_let_only_worker_publisher_and_backend_write_to_the_users() -> None:
    lines = acl_commands("broker:9092", "rekindle.", "rekindle")
    writers = {
        line.split("--allow-principal ")[1].split()[0] for line in lines if "rekindle.users" in line and "Write" in line
    }
    assert writers == {"User:rekindle", "User:rekindle-publisher", "User:backend"}
    assert any("--transactional-id rekindle --resource-pattern-type prefixed" in line for line in lines)
    assert not any("--operation All" in line for line in lines)


def test_a_command_of_ours_names_what_is_not_so_by_default() -> None:
    assert place_of({"bootstrap_servers": ["127.0.0.1:9092"]}, DEFAULT_PREFIX).create() == "rekindle topics create"
    other = place_of({"bootstrap_servers": ["a:1", "b:2"]}, "shop.")
    assert other.create(4) == "rekindle --brokers a:1,b:2 --prefix shop. topics create --partitions 4"
    assert other.create(3) == "rekindle --brokers a:1,b:2 --prefix shop. topics create"
    assert other.kafka("kafka-topics.sh", "--list") == "kafka-topics.sh --bootstrap-server a:1,b:2 --list"
