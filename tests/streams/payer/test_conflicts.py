"""Coins that others spend or that fall out of the chain: alarm, rebuild, failure if deep."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from processors.dogecoin.scripts import script_of_address
from streams.local.node.mining import Plan
from streams.payer import ancestry
from tests.conftest import Database
from tests.streams.payer.world import NETWORK, World, world_on
from tests.support.books import BOB, doge


@pytest.fixture
def world(database: Database) -> Iterator[World]:
    """A world in which one user has 1,000 DOGE."""
    with world_on(database) as made:
        made.deposit(1000)
        yield made


def _versions(world: World) -> int:
    return int(world.till.value("SELECT count(*) FROM payout_versions"))


def test_somebody_else_with_the_key_is_an_alarm_at_once_and_a_failure_only_when_deep(
    world: World,
) -> None:
    withdrawal = world.request(10)
    world.work(2)
    thief = world.stolen(world.elsewhere())
    world.node.mine(plan=Plan(txids=(), strangers=[thief]))
    world.follower.follow()
    world.work()
    assert "coins-taken" in world.bells.kinds
    world.mine(6)
    world.work()
    assert world.withdrawal(withdrawal)[0] == "BROADCAST"
    world.mine(1)
    world.work()
    status, _, reason = world.withdrawal(withdrawal)
    assert (status, reason) == ("FAILED", f"conflict with {thief.txid}")
    assert world.till.balance()[3] == 0


def test_a_payment_of_several_coins_survives_the_theft_of_one(world: World) -> None:
    world.deposit(1000, BOB)
    world.deposit(1000, BOB)
    address = world.elsewhere()
    world.request(990, address=address)
    withdrawal = world.request(990, BOB)
    world.work(2)
    assert len(world.till.rows("SELECT * FROM reservations")) == 2
    thief = world.stolen(world.elsewhere())
    world.node.mine(plan=Plan(txids=(), strangers=[thief]))
    world.follower.follow()
    world.settle_all()
    assert world.withdrawal(withdrawal)[0] == "CONFIRMED", world.bells.rung
    assert world.paid_on_chain()[address] == doge(990)
    assert _versions(world) == 2


def test_a_payment_from_a_deposit_that_was_double_spent_fails_once_that_is_deep(
    world: World,
) -> None:
    world.deposit(1000, BOB)
    withdrawal = world.request(900)
    world.work(2)
    (spent,) = world.till.rows("SELECT txid FROM reservations")
    world.node.reorganise(5, [Plan(leave_out={spent[0]})] * 6, drop={spent[0]})
    world.follower.follow()
    world.work()
    assert world.withdrawal(withdrawal)[0] == "BROADCAST"
    assert "coins-adrift" in world.bells.kinds
    world.node.pay(script_of_address(world.elsewhere(), NETWORK), doge(1))
    world.mine(6)
    world.work()
    assert world.withdrawal(withdrawal)[0] == "BROADCAST"
    world.settle_all(60)
    assert world.withdrawal(withdrawal)[0] == "FAILED"
    assert world.till.rows("SELECT * FROM reservations") == []


def test_a_double_spend_that_is_mined_long_after_the_fork_ends_the_payment_too(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.deposit(1000, BOB)
    withdrawal = world.request(900)
    world.work(2)
    (spent,) = world.till.rows("SELECT txid FROM reservations")
    world.node.reorganise(5, [Plan(leave_out={spent[0]})] * 6, drop={spent[0]})
    world.follower.follow()
    # Far beyond the blocks that a reorganisation may undo, and more than are read in one round.
    world.mine(3 * world.limits.burial_confirmations)
    monkeypatch.setattr(ancestry, "_READ_MAX", 7)
    world.work()
    world.node.pay(script_of_address(world.elsewhere(), NETWORK), doge(1))
    world.settle_all(80)
    assert world.withdrawal(withdrawal)[0] == "FAILED"


def test_coins_adrift_are_told_anew_once_they_had_come_home(world: World) -> None:
    # So that the coin that the deposit came from is old enough on any branch.
    world.mine(3)
    world.request(900)
    world.work(2)
    (spent,) = world.till.rows("SELECT txid FROM reservations")
    for times in (1, 2):
        depth = world.node.chain.height - world.till.value("SELECT max(height) FROM coins") + 1
        world.node.reorganise(depth, [Plan(leave_out={spent[0]})] * (depth + 1))
        world.follower.follow()
        world.work()
        assert [kind for kind, _, _ in world.bells.rung].count("coins-adrift") == times
        world.mine(2)
        assert world.till.rows("SELECT FROM coins WHERE height IS NULL") == []
        world.work()
