"""Topics: data that start-up creates them from, with what the wallet's promises need."""

from __future__ import annotations

from schemas.settings import Settings
from schemas.topics import (
    BATCHES,
    COMMAND_TOPIC_NAMES,
    EVENTS,
    TOPICS,
    CommandTopic,
    topic_name,
)


def test_the_book_of_what_was_asked_is_kept_for_ever_and_stamped_by_the_broker() -> None:
    book = {*COMMAND_TOPIC_NAMES.values(), BATCHES}
    kept = {topic.name for topic in TOPICS if topic.config["retention.ms"] == "-1"}
    assert kept == book
    for topic in TOPICS:
        stamped = topic.config.get("message.timestamp.type") == "LogAppendTime"
        assert stamped is (topic.name in book)
        # Compaction would drop all but a user's last command.
        assert topic.config["cleanup.policy"] == "delete"


def test_what_others_may_write_is_kept_unpacked_so_that_a_batch_has_a_size() -> None:
    unpacked = {t.name for t in TOPICS if t.config.get("compression.type") == "uncompressed"}
    assert unpacked == {*COMMAND_TOPIC_NAMES.values()}


def test_every_topic_that_users_are_spread_over_has_the_same_partitions() -> None:
    fixed = [topic.name for topic in TOPICS if topic.partitions is not None]
    assert fixed == ["wallet.alerts"]


def test_the_codes_that_ids_carry_never_change() -> None:
    assert {topic.value: name for topic, name in COMMAND_TOPIC_NAMES.items()} == {
        0: "wallet.commands",
        1: "wallet.commands.users",
        2: "wallet.commands.treasury",
    }


def test_a_prefix_stands_in_front_of_every_name() -> None:
    settings = Settings(topic_prefix="staging.")
    assert topic_name(settings, CommandTopic.USERS) == "staging.wallet.commands.users"
    assert topic_name(settings, EVENTS) == "staging.wallet.events"
