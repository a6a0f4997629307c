"""Orders that the topic lost after it had acknowledged them, and alarms that stand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from db.treasury.outboxes import PAYER_OUTBOX
from schemas.settings import Settings
from streams.alarms import Standing
from streams.overdue import Orders
from tests.conftest import Database
from tests.streams.payer.world import Bells, World, world_on
from tests.support.books import BOB


@pytest.fixture
def world(database: Database) -> Iterator[World]:
    """A world in which two users have 1,000 DOGE each."""
    with world_on(database) as made:
        made.deposit(1000)
        made.deposit(1000, BOB)
        yield made


def _lose_claim(world: World) -> str:
    """A withdrawal whose claim the topic acknowledged and lost, ten minutes ago."""
    withdrawal = world.request(10)
    world.payer.run_once()
    world.paying.execute("UPDATE payer_outbox SET sent_at = now() - interval '11 minutes'")
    return withdrawal


def _orders(world: World, **changes: float) -> Orders:
    return Orders(
        Settings(partitions=1), PAYER_OUTBOX, Standing(world.bells), clock=Clock(), **changes
    )


class Clock:
    """Half a minute passes from look to look."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 30.0
        return self.now


def _unsent(world: World) -> list[tuple[str]]:
    return world.till.rows("SELECT idempotency_key FROM payer_outbox WHERE sent_at IS NULL")


def test_an_order_that_the_topic_lost_is_sent_again_under_its_key_once_later_ones_are_decided(
    world: World,
) -> None:
    orders = _orders(world)
    lost = _lose_claim(world)
    orders.look(world.paying)
    assert _unsent(world) == []
    assert world.bells.kinds == {"order-unanswered"}
    world.request(20, BOB)
    world.work(3)
    orders.look(world.paying)
    assert _unsent(world) == [(f"claim:{lost}",)]
    assert world.bells.kinds == {"order-unanswered", "order-lost"}
    world.work(3)
    assert world.withdrawal(lost)[0] == "BROADCAST"
    orders.look(world.paying)
    assert world.till.rows("SELECT FROM payer_outbox WHERE outcome IS NULL") == []


def test_what_another_partition_has_decided_says_nothing_of_an_order(world: World) -> None:
    orders = _orders(world)
    orders._partitions = 12
    _lose_claim(world)
    world.request(20, BOB)
    world.work(3)
    orders.look(world.paying)
    assert _unsent(world) == []
    assert world.bells.kinds == {"order-unanswered"}


def test_an_alarm_that_stands_is_told_every_hour_whatever_its_details_say() -> None:
    bells, now = Bells(), [0.0]
    alarms = Standing(bells, clock=lambda: now[0])
    for seconds, height in ((0, 1), (60, 2), (3599, 3), (3601, 4)):
        now[0] = float(seconds)
        alarms.sound("node-not-followed", "main", f"it is at block {height}")
    assert [detail[-1] for _, _, detail in bells.rung] == ["1", "4"]
    alarms.keep("node-not-followed", {"main"})
    alarms.sound("node-not-followed", "main", "5")
    alarms.keep("node-not-followed", set())
    alarms.sound("node-not-followed", "main", "6")
    assert [detail[-1] for _, _, detail in bells.rung] == ["1", "4", "6"]
