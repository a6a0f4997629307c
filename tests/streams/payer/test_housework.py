"""Consolidations and sweeps: their forecast, their payment, and what the books say of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from db.engine import connect
from schemas.amounts import KOINU_PER_DOGE
from streams.local.node.mining import Plan
from streams.payer.housework import NotOrdered, consolidate, sweep
from streams.payer.restoring import watch_change
from tests.conftest import Database
from tests.streams.payer.world import World, world_on
from tests.support.books import BOB, doge

RATE = 1_000_000


@pytest.fixture
def world(database: Database) -> Iterator[World]:
    """A world with four small coins and a large one."""
    with world_on(database) as made:
        for amount in (20, 30, 40, 50):
            made.deposit(amount)
        made.deposit(2000, BOB)
        yield made


def _house(world: World, account: str) -> int:
    return int(
        world.till.value(
            "SELECT coalesce(sum(debit) - sum(credit), 0)::bigint FROM entries"
            " WHERE account::text = %s",
            account,
        )
    )


def test_a_dry_run_tells_and_reserves_nothing(world: World) -> None:
    office = world.payer.office
    told = consolidate(office, below=doge(100), rate=RATE, dry_run=True)
    assert (told.payout_id, told.coins, told.total) == (None, 4, doge(140))
    assert told.returned + told.fee == told.total
    assert world.till.rows("SELECT * FROM reservations") == []
    done = consolidate(office, below=doge(100), rate=RATE, dry_run=False)
    assert done._replace(payout_id=None) == told


def test_small_coins_are_joined_and_the_fee_is_in_the_books(world: World) -> None:
    before = _house(world, "chain")
    done = consolidate(world.payer.office, below=doge(100), rate=RATE, dry_run=False)
    world.settle_all()
    assert _house(world, "network_fees") == done.fee
    assert _house(world, "chain") == before - done.fee
    coins = world.till.rows(
        "SELECT amount FROM coins c WHERE NOT EXISTS"
        " (SELECT FROM spends s WHERE s.txid = c.txid AND s.vout = c.vout) ORDER BY amount"
    )
    assert coins == [(doge(140) - done.fee,), (doge(2000),)]


def test_a_sweep_moves_the_excess_to_cold_storage_and_the_books_follow(world: World) -> None:
    address = world.elsewhere()
    done = sweep(world.payer.office, address=address, keep=doge(500), rate=RATE, dry_run=False)
    assert done.moved == doge(2140 - 500)
    world.settle_all()
    assert world.paid_on_chain()[address] == done.moved
    assert _house(world, "cold") == done.moved
    assert _house(world, "chain") == doge(2140) - done.moved - done.fee


def test_a_sweep_that_a_reorganisation_takes_back_goes_back_in_the_books(world: World) -> None:
    sweep(world.payer.office, address=world.elsewhere(), keep=doge(500), rate=RATE, dry_run=False)
    world.work(2)
    world.mine(3)
    world.work()
    assert _house(world, "cold") > 0
    world.node.reorganise(3, [Plan(txids=())] * 4)
    world.follower.follow()
    world.work()
    assert (_house(world, "cold"), _house(world, "network_fees")) == (0, 0)
    world.settle_all()
    assert _house(world, "cold") > 0


def test_what_withdrawals_wait_for_is_not_swept(world: World) -> None:
    world.request(600, BOB)
    done = sweep(
        world.payer.office, address=world.elsewhere(), keep=doge(500), rate=RATE, dry_run=True
    )
    assert done.moved == doge(2140 - 500 - 600)


def test_all_of_it_can_be_swept_less_the_fee(world: World) -> None:
    done = sweep(world.payer.office, address=world.elsewhere(), keep=0, rate=RATE, dry_run=True)
    assert done.moved + done.fee + done.returned == doge(2140)
    assert done.returned < KOINU_PER_DOGE


@pytest.mark.parametrize("keep", [2140, 5000])
def test_nothing_over_the_ceiling_is_nothing_to_move(world: World, keep: int) -> None:
    with pytest.raises(NotOrdered, match="nothing to move"):
        sweep(
            world.payer.office, address=world.elsewhere(), keep=doge(keep), rate=RATE, dry_run=True
        )


def test_cold_storage_is_neither_ours_nor_of_another_network(world: World) -> None:
    office = world.payer.office
    with pytest.raises(NotOrdered, match="of this wallet itself"):
        sweep(office, address=world.address_of(BOB), keep=0, rate=RATE, dry_run=True)
    with pytest.raises(NotOrdered, match="address_wrong_network"):
        sweep(office, address="DBus3bamQjgJULBJtYXpEzDWQRwF5iwxgC", keep=0, rate=RATE, dry_run=True)
    with pytest.raises(NotOrdered, match="not two coins"):
        consolidate(office, below=doge(21), rate=RATE, dry_run=True)


def test_change_is_watched_again_after_its_table_was_lost(world: World, database: Database) -> None:
    world.request(600, BOB)
    world.settle_all()
    used = world.till.rows("SELECT address FROM watched_scripts WHERE chain = 1")
    assert used
    with connect(database.superuser_url, application_name="test", autocommit=True) as loss:
        for table in ("change_counters", "watched_scripts"):
            loss.execute(f"DELETE FROM {table}")
    assert watch_change(world.payer.office, 20) == (0, 20)
    assert watch_change(world.payer.office, 20) == (20, 20)
    again = world.till.rows("SELECT address FROM watched_scripts WHERE chain = 1")
    assert set(used) < set(again)
    assert len(again) == 20
    assert world.till.rows("SELECT next_index FROM change_counters") == [(20,)]
