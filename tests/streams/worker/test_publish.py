"""The publisher: one committed batch at a time, all of it or nothing, told to whoever settles."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from confluent_kafka import Message

from processors.apply import StagedSlice
from processors.telling import DEAD_LETTER_FRAME, EVENT_FRAME, MANIFEST_FRAME, Frame
from schemas.settings import Settings
from schemas.topics import BATCHES, DEAD_LETTERS, EVENTS, CommandTopic
from streams.kafka.admin import create_topics
from streams.kafka.config import KafkaUnavailable, partition_of
from streams.kafka.groups import Group
from streams.kafka.produce import PublishRefused
from streams.worker import publish
from streams.worker.publish import Publisher
from tests.support.eventually import eventually
from tests.support.member import Member
from tests.support.station import read_all

pytestmark = pytest.mark.timeout(300)

PLACE = (CommandTopic.USERS, 2)


@pytest.fixture
def wallet(settings: Settings) -> Settings:
    """The test's own topics."""
    create_topics(settings)
    return settings


@pytest.fixture
def member(wallet: Settings) -> Iterator[Member]:
    """The one member of the group."""
    made = Member(wallet)
    made.join(3 * wallet.partitions)
    yield made
    made.consumer.close()


def staged(first: int, last: int, *values: bytes, kind: int = EVENT_FRAME) -> StagedSlice:
    frames = [Frame(kind, b"key", value) for value in values]
    return StagedSlice(int(PLACE[0]), PLACE[1], first, last + 1, frames)


def all_of(settings: Settings, *topics: str) -> dict[str, list[Message]]:
    """What the topics hold; nothing while one of them is empty."""
    found = read_all(settings, *topics)
    return found if all(found.values()) else {}


def published(settings: Settings, topic: str = EVENTS) -> list[bytes]:
    return [message.value() or b"" for message in read_all(settings, topic)[topic]]


def await_published(settings: Settings, values: list[bytes]) -> None:
    """A commit is answered before its markers stand in every partition."""
    eventually(lambda: len(published(settings)) >= len(values), "what was committed is readable")
    assert published(settings) == values


def committed(settings: Settings) -> int | None:
    return Group(settings).committed([PLACE])[PLACE]


def await_committed(settings: Settings, offset: int) -> None:
    """That partition of the broker's own, too, has its marker a moment after the answer."""
    eventually(lambda: committed(settings) == offset, f"{offset} is committed")


def test_each_frame_goes_to_its_topic_and_a_manifest_beside_its_commands(
    wallet: Settings, member: Member
) -> None:
    publisher = Publisher(wallet)
    parts = [
        staged(0, 0, b"event"),
        staged(1, 1, b"letter", kind=DEAD_LETTER_FRAME),
        staged(2, 2, b"manifest", kind=MANIFEST_FRAME),
    ]
    publisher.submit(parts, member.consumer.group_metadata())
    publisher.settle()
    publisher.close()
    found = eventually(
        lambda: all_of(wallet, EVENTS, DEAD_LETTERS, BATCHES), "what was committed is readable"
    )
    assert {topic: [(m.value(), m.partition()) for m in found[topic]] for topic in found} == {
        EVENTS: [(b"event", partition_of(b"key", wallet.partitions))],
        DEAD_LETTERS: [(b"letter", partition_of(b"key", wallet.partitions))],
        BATCHES: [(b"manifest", PLACE[1])],
    }
    # Of a batch that was split, the last part says how far the partition is.
    await_committed(wallet, 3)


def test_nothing_is_seen_before_it_is_settled_and_everything_afterwards(
    wallet: Settings, member: Member
) -> None:
    go_on = threading.Event()

    def hold(step: str) -> None:
        if step == "offsets-sent":
            assert go_on.wait(60.0)

    publisher = Publisher(wallet, step=hold)
    publisher.submit([staged(0, 4, b"one", b"two")], member.consumer.group_metadata())
    assert not publisher.idle
    assert published(wallet) == []
    eventually(publisher.stalled, "it has taken too long")
    go_on.set()
    publisher.settle()
    await_published(wallet, [b"one", b"two"])
    await_committed(wallet, 5)
    assert not publisher.stalled()
    publisher.close()


def test_what_is_submitted_meanwhile_goes_out_together_in_the_next_transaction(
    wallet: Settings, member: Member
) -> None:
    go_on = threading.Event()
    commits: list[str] = []

    def hold(step: str) -> None:
        if step == "offsets-sent":
            commits.append(step)
            assert go_on.wait(60.0)

    publisher = Publisher(wallet, step=hold)
    for offset, name in ((4, b"one"), (5, b"two"), (6, b"three")):
        publisher.submit([staged(offset, offset, name)], member.consumer.group_metadata())
    assert publisher.waits
    go_on.set()
    publisher.settle()
    await_published(wallet, [b"one", b"two", b"three"])
    assert len(commits) == 2
    await_committed(wallet, 7)
    assert publisher.published == {(PLACE[0].value, PLACE[1]): 7}
    publisher.close()


def test_what_waits_behind_a_refusal_is_dropped_with_it(wallet: Settings, member: Member) -> None:
    go_on = threading.Event()

    def hold(step: str) -> None:
        if step == "produced":
            assert go_on.wait(60.0)

    publisher = Publisher(wallet, step=hold)
    publisher.submit([staged(0, 4, b"as nobody")], None)
    publisher.submit([staged(5, 5, b"after it")], member.consumer.group_metadata())
    go_on.set()
    with pytest.raises(PublishRefused, match="no member"):
        publisher.settle()
    assert publisher.idle
    assert published(wallet) == []
    publisher.close()


def test_what_is_prepared_is_at_the_broker_and_nobody_reads_it_before_it_is_submitted(
    wallet: Settings, member: Member
) -> None:
    steps: list[str] = []
    publisher = Publisher(wallet, step=steps.append)
    slices = [staged(0, 4, b"one", b"two")]
    publisher.prepare(slices, member.consumer.group_metadata())
    committer = publisher._committer
    assert committer is not None
    eventually(lambda: "offsets-sent" in steps, "the broker has the offsets")
    eventually(lambda: not len(committer.producer._producer), "the broker has the records")
    assert not publisher.stalled()
    assert published(wallet) == []
    publisher.submit(slices, member.consumer.group_metadata())
    publisher.settle()
    await_published(wallet, [b"one", b"two"])
    assert publisher.published == {(PLACE[0].value, PLACE[1]): 5}
    await_committed(wallet, 5)
    assert steps == ["produced", "offsets-sent", "published"]
    publisher.close()


def test_what_is_retracted_is_never_published_and_what_comes_next_is(
    wallet: Settings, member: Member
) -> None:
    publisher = Publisher(wallet)
    publisher.prepare([staged(0, 4, b"rolled back")], member.consumer.group_metadata())
    publisher.retract()
    publisher.settle()
    assert publisher.published == {}
    assert committed(wallet) is None
    publisher.submit([staged(0, 4, b"applied")], member.consumer.group_metadata())
    publisher.settle()
    await_published(wallet, [b"applied"])
    await_committed(wallet, 5)
    publisher.close()


def test_a_refusal_of_what_was_prepared_is_told_once_it_is_submitted(
    wallet: Settings, member: Member
) -> None:
    publisher = Publisher(wallet)
    slices = [staged(0, 4, b"as nobody")]
    publisher.prepare(slices, None)
    publisher.submit(slices, None)
    with pytest.raises(PublishRefused, match="no member"):
        publisher.settle()
    assert publisher.published == {}
    assert published(wallet) == []
    publisher.close()


def test_neither_a_large_batch_is_prepared_nor_one_behind_another(
    wallet: Settings, member: Member
) -> None:
    go_on = threading.Event()

    def hold(step: str) -> None:
        if step == "produced":
            assert go_on.wait(60.0)

    publisher = Publisher(wallet, step=hold)
    metadata = member.consumer.group_metadata()
    large = [staged(0, publish.PREPARED_MAX, b"large")]
    publisher.prepare(large, metadata)
    assert publisher.idle
    publisher.submit(large, metadata)
    small = [staged(publish.PREPARED_MAX + 1, publish.PREPARED_MAX + 1, b"small")]
    publisher.prepare(small, metadata)
    publisher.submit(small, metadata)
    assert publisher.waits
    go_on.set()
    publisher.settle()
    await_published(wallet, [b"large", b"small"])
    publisher.close()


def test_transactions_go_out_by_two_producers_in_turn(wallet: Settings, member: Member) -> None:
    publisher = Publisher(wallet)
    used = []
    for offset in range(4):
        publisher.submit([staged(offset, offset, b"%d" % offset)], _metadata(member))
        publisher.settle()
        used.append(publisher._committer)
    assert used[0] is used[2] is not used[1] is used[3]
    await_published(wallet, [b"0", b"1", b"2", b"3"])
    await_committed(wallet, 4)
    publisher.close()


def test_what_was_refused_is_told_once_and_the_next_batch_is_published(
    wallet: Settings, member: Member
) -> None:
    publisher = Publisher(wallet)
    publisher.submit([staged(0, 4, b"as nobody")], None)
    with pytest.raises(PublishRefused, match="no member"):
        publisher.settle()
    publisher.settle()
    assert publisher.idle
    publisher.submit([staged(0, 4, b"as a member")], member.consumer.group_metadata())
    publisher.settle()
    await_published(wallet, [b"as a member"])
    publisher.close()


def test_a_fenced_producer_is_replaced(wallet: Settings, member: Member) -> None:
    publisher = Publisher(wallet)
    publisher.submit([staged(0, 4, b"one")], member.consumer.group_metadata())
    publisher.settle()
    refusing = publisher._committer
    assert refusing is not None
    publisher._drop_if_fenced(PublishRefused("a rival has the id", fenced=True))
    publisher.submit([staged(5, 9, b"two")], member.consumer.group_metadata())
    publisher.settle()
    assert publisher._committer not in (None, refusing)
    await_published(wallet, [b"one", b"two"])
    publisher.close()


def test_a_call_that_never_comes_back_is_given_up_and_nothing_of_it_is_published_later(
    wallet: Settings, member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "GIVE_UP_SECONDS", 0.2)
    come_back, gone = threading.Event(), threading.Event()

    def hang(step: str) -> None:
        if step == "offsets-sent" and not gone.is_set():
            gone.set()
            assert come_back.wait(60.0)

    publisher = Publisher(wallet, step=hang)
    publisher.submit([staged(0, 4, b"given up")], member.consumer.group_metadata())
    lost = publisher._committer
    assert lost is not None
    assert gone.wait(60.0)
    with pytest.raises(KafkaUnavailable, match="given up"):
        publisher.settle()
    assert publisher.idle
    monkeypatch.undo()
    publisher.fence()
    come_back.set()
    assert lost.done.wait(60.0)
    # The broker held back the group's offset while that transaction was open; it is not any more.
    assert committed(wallet) is None
    publisher.submit([staged(0, 4, b"again")], member.consumer.group_metadata())
    publisher.settle()
    await_published(wallet, [b"again"])
    publisher.close()


def test_a_call_that_never_comes_back_is_noticed_though_nothing_else_is_to_be_published(
    wallet: Settings, member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "GIVE_UP_SECONDS", 0.2)
    come_back, gone = threading.Event(), threading.Event()

    def hang(step: str) -> None:
        if step == "offsets-sent":
            gone.set()
            assert come_back.wait(60.0)

    publisher = Publisher(wallet, step=hang)
    publisher.submit([staged(0, 4, b"given up")], _metadata(member))
    assert gone.wait(60.0)

    def given_up() -> bool:
        try:
            publisher.advance()
        except KafkaUnavailable:
            return True
        return False

    eventually(given_up, "a worker without work gives it up as well")
    come_back.set()
    publisher.close()


def test_closing_lets_come_to_its_end_what_is_under_way(wallet: Settings, member: Member) -> None:
    publisher = Publisher(wallet)
    publisher.submit([staged(0, 9, *(b"%d" % n for n in range(500)))], _metadata(member))
    publisher.close()
    await_published(wallet, [b"%d" % n for n in range(500)])
    await_committed(wallet, 10)


def _metadata(member: Member) -> object:
    return member.consumer.group_metadata()


def test_a_fault_of_the_program_is_not_taken_for_a_publication(
    wallet: Settings, member: Member
) -> None:
    def fail(step: str) -> None:
        raise ZeroDivisionError(step)

    publisher = Publisher(wallet, step=fail)
    publisher.submit([staged(0, 4, b"one")], member.consumer.group_metadata())
    with pytest.raises(ZeroDivisionError, match="produced"):
        publisher.settle()
    assert committed(wallet) is None
    publisher.close()
