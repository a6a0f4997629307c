"""Two versions of a payment are out, and one confirms: the books follow the one that did.

Versions without change pay the same outputs, so that these alone do not say which of them won.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import pytest

from processors.dogecoin.building import Template
from processors.dogecoin.derivation import CHANGE_CHAIN
from processors.dogecoin.scripts import script_of_address
from schemas.addresses import decode_address
from schemas.amounts import Share
from schemas.commands import ConfirmationTier, Fund, SetRules
from schemas.ledger import HOUSE
from streams.local.node.blocks import Carried
from streams.local.node.malleation import malleated
from streams.local.node.mining import Plan
from streams.payer import templates
from streams.payer.adopting import adopt, shown
from streams.payer.judging import Depths, Mined, Spend, Try, judge
from tests.conftest import Database
from tests.streams.doctor.looking import found_in, report_on
from tests.streams.payer.world import NETWORK, World, world_on
from tests.support.books import doge

#: A coin of one user, and what leaves so little change that a higher fee takes all of it.
COIN: Final = 100
ASKED: Final = COIN - 0.0124
#: One of them joins the third version, and is all fee.
SMALL: Final = 0.012
SMALL_COINS: Final = 10


#: The house takes nothing, so that all of a coin can be asked for.
_FREE: Final = SetRules(
    escrow_fee_basis_points=0,
    withdrawal_fee=Share(0),
    withdrawal_minimum=doge(1),
    withdrawal_maximum=doge(1000),
    deposit_minimum=Share(0),
    confirmations=(ConfirmationTier(exposure=Share(0), confirmations=2),),
)


@pytest.fixture
def world(database: Database) -> Iterator[World]:
    """A world in which one user has one coin, and the house small ones to set aside for fees."""
    with world_on(database) as made:
        made.till.do(_FREE, HOUSE)
        made.deposit(COIN)
        _fund(made)
        yield made


class Version(NamedTuple):
    """One that was sent."""

    template: Template
    carried: Carried


def _bumped(world: World) -> Version:
    world.hurry(bump_seconds=0.0)
    world.work()
    world.hurry(bump_seconds=3600.0)
    return _newest(world)


def _newest(world: World) -> Version:
    txid, template = world.till.rows(
        "SELECT txid, template::text FROM payout_versions ORDER BY version DESC LIMIT 1"
    )[0]
    return Version(templates.read(template.encode()), world.node.pool.entries[txid].carried)


def _fund(world: World) -> None:
    address = world.keyring.first.address(CHANGE_CHAIN, 100_000)
    payload = decode_address(address)
    assert payload is not None
    world.follower.watch_change(payload[1:], address, world.keyring.first.fingerprint, 100_000)
    for _ in range(SMALL_COINS):
        world.node.pay(script_of_address(address, NETWORK), doge(SMALL))
    world.till.do(Fund(amount=doge(SMALL_COINS * SMALL)))
    world.mine()


def _three(world: World, address: str) -> tuple[str, list[Version]]:
    """A payment with change, one without, and one that a small coin has joined, without change."""
    withdrawal = world.request(ASKED, address=address)
    world.work(2)
    versions = [_newest(world), _bumped(world), _bumped(world)]
    first, second, third = (each.template for each in versions)
    assert first.change is not None
    assert second.change is third.change is None
    assert second.fee < third.fee
    assert third.outpoints > second.outpoints
    hashes = {each.carried.body.outputs_hash for each in versions[1:]}
    assert len(hashes) == 1, "the outputs tell them apart"
    return withdrawal, versions


@pytest.mark.parametrize("won", [0, 1, 2], ids=["with change", "without", "joined by a coin"])
@pytest.mark.parametrize("twisted", [False, True], ids=["as it was signed", "malleated"])
def test_the_books_follow_the_version_that_confirmed(world: World, won: int, twisted: bool) -> None:
    address = world.elsewhere()
    withdrawal, versions = _three(world, address)
    winner = versions[won]
    mined = malleated(winner.carried) if twisted else winner.carried
    world.node.mine(plan=Plan(txids=(), strangers=[mined]))
    world.follower.follow()
    world.settle_all()
    assert world.withdrawal(withdrawal)[:2] == ("CONFIRMED", mined.txid)
    assert world.paid_on_chain()[address] == round(ASKED * doge(1))
    fees = world.till.rows("SELECT txid, amount FROM network_fees WHERE posted")
    assert fees == [(mined.txid, winner.template.fee)]
    change = world.till.rows("SELECT amount FROM coins WHERE txid = %s", mined.txid)
    kept = winner.template.change
    assert change == ([] if kept is None else [(kept.amount,)])
    assert found_in(report_on(world.database)) == {}
    world.till.audit()


@pytest.mark.parametrize("twisted", [False, True], ids=["as it was signed", "malleated"])
def test_a_version_without_change_that_a_backup_lacks_is_not_taken_for_the_one_it_has(
    world: World, twisted: bool
) -> None:
    withdrawal, versions = _three(world, world.elsewhere())
    winner = versions[2]
    mined = malleated(winner.carried) if twisted else winner.carried
    world.node.mine(plan=Plan(txids=(), strangers=[mined]))
    world.follower.follow()
    with world.owning() as connection:
        connection.execute("DELETE FROM payout_versions WHERE version = 3")
        connection.execute(
            "DELETE FROM reservations r USING coins c WHERE (c.txid, c.vout) = (r.txid, r.vout)"
            " AND c.amount = %s",
            (round(SMALL * doge(1)),),
        )
    world.payer = world.start_payer()
    world.settle_all()
    assert world.withdrawal(withdrawal)[:2] == ("CONFIRMED", mined.txid)
    fees = world.till.rows("SELECT txid, amount FROM network_fees WHERE posted")
    assert fees == [(mined.txid, winner.template.fee)]
    assert found_in(report_on(world.database)) == {}


def test_a_lost_payment_is_found_though_another_payout_paid_the_very_same(world: World) -> None:
    """To the same address, the same amount, both without change."""
    address = world.elsewhere()
    world.deposit(COIN)
    asked = COIN - 0.003
    known = world.request(asked, address=address)
    world.work(2)
    world.settle_all()
    lost = world.request(asked, address=address)
    world.work(2)
    world.mine()
    assert world.till.value("SELECT count(DISTINCT outputs_hash) FROM payout_versions") == 1
    with world.owning() as connection:
        connection.execute("DELETE FROM claims WHERE withdrawal_id = %s", (lost,))
        connection.execute("DELETE FROM payout_versions WHERE payout_id = 2")
        connection.execute("DELETE FROM reservations WHERE payout_id = 2")
        connection.execute("DELETE FROM payouts WHERE id = 2")
    world.payer = world.start_payer()
    office = world.payer.office
    (one,) = shown(office, world.line, [lost])
    adopt(office, one)
    world.settle_all()
    assert [world.withdrawal(each)[0] for each in (known, lost)] == ["CONFIRMED", "CONFIRMED"]
    assert world.paid_on_chain()[address] == 2 * round(asked * doge(1))
    assert found_in(report_on(world.database)) == {}


def test_a_twin_that_spends_what_is_not_reserved_any_more_is_a_payment_all_the_same() -> None:
    """A wrong fee can be mended; a payment that is taken for none would be made again."""
    first, second = ("a" * 64, 0), ("b" * 64, 0)
    tries = [Try(1, frozenset({first, second}), "1" * 64, b"same")]
    twin = Spend(first, "f" * 64, b"same", 10)
    assert judge(tries, [twin], (), (), Depths(10, 6, 60)) == Mined("f" * 64, 1)
