"""The command producer on a real broker, with a real worker that judges what it sends."""

from __future__ import annotations

import uuid

import pytest
from wallet_client import Amount, Malformed, OutcomeUnknown
from wallet_client.errors import BadRequest, InsufficientFunds
from wallet_client.ids import command_id
from wallet_client.kafka import CommandProducer, NotPermitted, Role
from wallet_client.kafka.config import BrokerUnavailable
from wallet_client.models import (
    CommandReplayed,
    Fund,
    LockFunds,
    LockResult,
    OpenWallet,
    ProcessDeposit,
)
from wallet_client.tables import HOUSE

from schemas.settings import Settings
from streams.local.process import free_port
from tests.clients.station import Station


def bid(amount: str) -> LockFunds:
    return LockFunds(amount=Amount(amount), reference_type="auction", reference_id="1042")


def test_a_command_is_decided_and_its_event_awaited(station: Station) -> None:
    user = station.user("100")
    with station.producer() as producer:
        sent = producer.send(user, bid("12.5"), idempotency_key="bid-1")
        event = sent.outcome()
    assert isinstance(event.result, LockResult)
    assert event.result.locked == Amount("12.5")
    assert event.balance is not None
    assert event.balance.available == Amount("87.5")
    assert event.causationid == sent.command_id()


def test_many_users_land_where_the_worker_wants_them(station: Station) -> None:
    with station.producer(Role.USERS) as producer:
        sent = [
            producer.send(str(uuid.uuid4()), OpenWallet(), idempotency_key="open")
            for _ in range(200)
        ]
        opened = [one.outcome().type for one in sent]
    assert opened == ["wallet.opened"] * 200
    assert {one.place().partition for one in sent} == set(range(station.settings.partitions))


def test_a_refusal_is_raised_and_a_replay_tells_the_first_outcome(station: Station) -> None:
    user = station.user("10")
    with station.producer() as producer:
        for _ in range(2):
            with pytest.raises(InsufficientFunds) as refused:
                producer.send(user, bid("12.5"), idempotency_key="much").outcome()
            assert refused.value.idempotency_key == "much"
        first = producer.send(user, bid("1"), idempotency_key="little")
        again = producer.send(user, bid("1"), idempotency_key="little")
        first.outcome()
        replayed = again.outcome().data
    assert isinstance(replayed, CommandReplayed)
    assert replayed.first_command_id == first.command_id()


async def test_async_code_awaits_what_was_sent(station: Station) -> None:
    user = station.user("10")
    with station.producer() as producer:
        event = await producer.send(user, bid("1"), idempotency_key="a")
        assert event.type == "funds.locked"
        with pytest.raises(InsufficientFunds):
            await producer.send(user, bid("100"), idempotency_key="b")


def test_what_the_worker_cannot_read_is_told_too(station: Station) -> None:
    user = station.user()
    with station.producer() as producer, pytest.raises(Malformed) as buried:
        producer.send(user, bid("0"), idempotency_key="nothing").outcome()
    assert buried.value.code == "amount_zero"


def test_what_is_not_ones_own_is_refused_before_it_is_sent(station: Station) -> None:
    user = station.user()
    deposit = ProcessDeposit(
        txid="ab" * 32, vout=0, address="x", amount=Amount(1), block_hash="cd" * 32,
        height=1, ordinal=1,
    )  # fmt: skip
    with station.producer() as producer:
        with pytest.raises(NotPermitted):
            producer.send(user, deposit, idempotency_key="mine")
        with pytest.raises(BadRequest, match="canonical"):
            producer.send(user.upper(), bid("1"), idempotency_key="a")
        with pytest.raises(BadRequest, match="length"):
            unnamed = LockFunds(amount=Amount(1), reference_type="", reference_id="7")
            producer.send(user, unnamed, idempotency_key="a")
        with pytest.raises(BadRequest, match="255"):
            producer.send(user, bid("1"), idempotency_key="")
        with pytest.raises(BadRequest, match="house"):
            producer.send(HOUSE, bid("1"), idempotency_key="a")


def test_a_command_of_the_house_is_keyed_by_the_house(station: Station) -> None:
    with station.producer(Role.TREASURY) as treasury:
        event = treasury.send(HOUSE, Fund(amount=Amount(5)), idempotency_key="capital")
        assert event.outcome().type == "capital.funded"


def test_events_of_other_services_are_not_taken_for_ours(station: Station) -> None:
    user = station.user("10")
    with station.producer() as ours, station.producer() as theirs:
        theirs.send(user, bid("1"), idempotency_key="bid").outcome()
        mine = ours.send(user, bid("1"), idempotency_key="bid")
        assert isinstance(mine.outcome().data, CommandReplayed)
        assert mine.outcome().causationid == mine.command_id()


def test_an_outcome_that_does_not_come_is_unknown(idle: Settings) -> None:
    with CommandProducer(
        idle.kafka["bootstrap.servers"], "tests", topic_prefix=idle.topic_prefix
    ) as producer:
        sent = producer.send(str(uuid.uuid4()), bid("1"), idempotency_key="late")
        place = sent.place()
        with pytest.raises(OutcomeUnknown, match="retry with the same key late") as unknown:
            sent.outcome(timeout_seconds=0.05)
    assert unknown.value.command_id == command_id(place)


def test_a_producer_that_follows_nothing_says_so(station: Station) -> None:
    settings = station.settings
    with CommandProducer(
        station.broker, "tests", outcomes=False, topic_prefix=settings.topic_prefix
    ) as producer:
        sent = producer.send(station.user(), bid("1"), idempotency_key="a")
        assert sent.place().offset >= 0
        with pytest.raises(RuntimeError, match="outcomes=False"):
            sent.outcome()


def test_promises_cannot_be_configured_away(station: Station) -> None:
    with pytest.raises(ValueError, match="partitioner"):
        CommandProducer(station.broker, "tests", config={"partitioner": "consistent_random"})


def test_outcomes_of_topics_that_are_not_there_are_not_waited_for(station: Station) -> None:
    servers = station.settings.kafka["bootstrap.servers"]
    with pytest.raises(BrokerUnavailable, match=r"cannot be followed on nobodys\.wallet"):
        CommandProducer(servers, "tests", topic_prefix="nobodys.")


def test_a_broker_that_is_away_is_said_to_be(station: Station) -> None:
    quiet = {"log_level": 0}
    with pytest.raises(BrokerUnavailable):
        CommandProducer(f"127.0.0.1:{free_port()}", "tests", config=quiet, answer_seconds=0.5)
