"""The payer's tables are lost, or older than the ledger: nothing is paid twice or forgotten."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from psycopg.errors import UniqueViolation

from streams.local.node.mining import Plan
from streams.node.client import NodeAway
from streams.payer.adopting import adopt, shown
from streams.payer.housework import consolidate
from streams.payer.stranding import NotGivenUp, distrust, found_by, give_up
from tests.conftest import Database
from tests.streams.doctor.looking import found_in, report_on
from tests.streams.payer.world import World, world_on
from tests.support.books import BOB, doge

RATE = 1_000_000
#: Deeper than any reorganisation that is undone, and than a conflict that counts.
LATER = 12
_TABLES = "payouts, payout_versions, reservations, claims, payer_outbox, stranded"


@pytest.fixture
def world(database: Database) -> Iterator[World]:
    """A world in which one user has 1,000 DOGE."""
    with world_on(database) as made:
        made.deposit(1000)
        yield made


def _lose(world: World, *statements: str) -> None:
    """All that the payer knew, or what the statements remove; it starts again without it."""
    with world.owning() as connection:
        for statement in statements or (f"TRUNCATE {_TABLES}",):
            connection.execute(statement)
    world.payer = world.start_payer()


def _adopt(world: World, *withdrawals: str) -> list[int]:
    office = world.payer.office
    return [adopt(office, one) for one in shown(office, world.line, withdrawals)]


def _payouts(world: World) -> list[tuple[str]]:
    return world.till.rows("SELECT status::text FROM payouts ORDER BY id")


def test_a_withdrawal_whose_payout_is_lost_is_told_by_name_and_not_paid_again(
    world: World,
) -> None:
    world.deposit(500, BOB)
    sent = world.request(250)
    world.work(3)
    claimed = world.request(10)
    world.payer.run_once()
    world.deliver()
    assert [world.withdrawal(each)[0] for each in (sent, claimed)] == ["BROADCAST", "PROCESSING"]
    _lose(world)
    world.work(4)
    told = {subject for kind, subject, _ in world.bells.rung if kind == "withdrawal-stranded"}
    assert told == {sent, claimed}
    assert _payouts(world) == []
    assert set(found_in(report_on(world.database))["payouts"]) == {
        f"{sent}: it is BROADCAST, but nothing here has claimed it: `wallet payer stranded`",
        f"{claimed}: it is PROCESSING, but nothing here has claimed it: `wallet payer stranded`",
    }


def test_what_the_chain_shows_is_adopted_and_confirmed_and_the_books_close(world: World) -> None:
    world.deposit(500, BOB)
    withdrawals = [world.request(250), world.request(60, BOB)]
    world.work(3)
    world.mine()
    _lose(world)
    world.work()
    assert len(_adopt(world, *withdrawals)) == 1
    world.work()
    assert found_in(report_on(world.database)) == {}
    world.settle_all()
    assert [world.withdrawal(each)[0] for each in withdrawals] == ["CONFIRMED", "CONFIRMED"]
    assert found_by(world.payer.office) == []
    assert found_in(report_on(world.database)) == {}
    world.till.audit()


def test_an_adopted_payment_that_a_reorganisation_takes_is_sent_again(world: World) -> None:
    withdrawal = world.request(250)
    world.work(3)
    world.mine()
    _lose(world)
    _adopt(world, withdrawal)
    txid = world.withdrawal(withdrawal)[1]
    assert txid is not None
    world.node.reorganise(1, [Plan(txids=()), Plan(txids=())], drop={txid})
    world.follower.follow()
    world.settle_all()
    assert world.withdrawal(withdrawal)[0] == "CONFIRMED"


def test_one_of_two_payees_is_confirmed_in_the_ledger_already(world: World) -> None:
    world.deposit(500, BOB)
    first, second = world.request(250), world.request(60, BOB)
    world.work(3)
    world.mine(3)
    world.payer.run_once()
    # Of the orders that confirm them the first reaches the ledger, the other one is lost.
    world.deliver(1)
    assert sorted(world.withdrawal(each)[0] for each in (first, second)) == [
        "BROADCAST",
        "CONFIRMED",
    ]
    _lose(world)
    (left,) = [each.withdrawal_id for each in found_by(world.payer.office)]
    assert len(_adopt(world, left)) == 1
    world.settle_all()
    assert [world.withdrawal(each)[0] for each in (first, second)] == ["CONFIRMED", "CONFIRMED"]
    assert found_in(report_on(world.database)) == {}
    world.till.audit()


def test_a_payment_is_adopted_once(world: World) -> None:
    withdrawal = world.request(250)
    world.work(3)
    world.mine()
    _lose(world)
    office = world.payer.office
    (one,) = shown(office, world.line, [withdrawal])
    adopt(office, one)
    with pytest.raises(UniqueViolation):
        adopt(office, one)
    assert shown(office, world.line, [withdrawal]) == []
    assert _payouts(world) == [("broadcast",)]


def test_a_stranded_withdrawal_is_given_back_once_no_lost_bytes_can_pay_it(world: World) -> None:
    address = world.elsewhere()
    withdrawal = world.request(250, address=address)
    world.work(3)
    # Nobody mines it, and the node forgets it: the bytes may be anywhere.
    txid = world.withdrawal(withdrawal)[1]
    assert txid is not None
    world.node.drop(txid)
    _lose(world)
    world.work()
    office = world.payer.office
    with pytest.raises(NotGivenUp, match="wait until block"):
        give_up(office, world.line, withdrawal)
    world.deposit(30, BOB)
    world.mine(LATER)
    with pytest.raises(NotGivenUp, match=r"2 coins of 1030\."):
        give_up(office, world.line, withdrawal)
    consolidate(office, below=doge(5000), rate=RATE, dry_run=False)
    world.work(2)
    world.mine(5)
    with pytest.raises(NotGivenUp, match="blocks deep"):
        give_up(office, world.line, withdrawal)
    world.mine(LATER)
    give_up(office, world.line, withdrawal)
    world.work(2)
    assert world.withdrawal(withdrawal)[0] == "FAILED"
    assert world.withdrawal(withdrawal)[1] == txid
    assert address not in world.paid_on_chain()
    assert world.till.balance()[0] == doge(1000)


def test_one_that_is_found_before_a_block_is_followed_has_no_height_yet(world: World) -> None:
    withdrawal = world.request(250)
    world.work(3)
    _lose(world, f"TRUNCATE {_TABLES}", "UPDATE blocks SET active = false")
    office = world.payer.office
    assert [each.height for each in found_by(office)] == [None]
    with pytest.raises(NotGivenUp, match="no block is followed"):
        give_up(office, world.line, withdrawal)
    with world.owning() as connection:
        connection.execute("UPDATE blocks SET active = true")
    assert [each.height for each in found_by(office)] == [world.node.chain.height]
    world.mine()
    assert [each.height for each in found_by(office)] == [world.node.chain.height - 1]


def test_what_pays_it_is_never_given_back(world: World) -> None:
    withdrawal = world.request(250)
    world.work(3)
    world.mine()
    _lose(world)
    world.mine(30)
    with pytest.raises(NotGivenUp, match="pays it"):
        give_up(world.payer.office, world.line, withdrawal)


def test_a_version_that_a_backup_lacks_is_known_again_and_not_taken_for_a_theft(
    world: World,
) -> None:
    withdrawal = world.request(250)
    world.work(3)
    world.hurry(bump_seconds=0.0)
    world.work(1)
    world.hurry(bump_seconds=3600.0)
    world.mine(20)
    assert world.till.value("SELECT max(version) FROM payout_versions") > 1
    _lose(world, "DELETE FROM payout_versions WHERE version > 1")
    world.settle_all()
    assert world.withdrawal(withdrawal)[0] == "CONFIRMED"
    assert world.bells.kinds.isdisjoint({"coins-taken", "payout-failed"})
    assert found_in(report_on(world.database)) == {}


def test_while_the_node_is_away_nothing_fails_that_a_lost_version_may_have_paid(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    withdrawal = world.request(250)
    world.work(3)
    world.hurry(bump_seconds=0.0)
    world.work(1)
    world.hurry(bump_seconds=3600.0)
    world.mine(20)
    _lose(world, "DELETE FROM payout_versions WHERE version > 1")

    def away(block_hash: str) -> None:
        raise NodeAway("gone")

    with monkeypatch.context() as patch:
        patch.setattr(world.line, "block", away)
        world.work(3)
    assert world.withdrawal(withdrawal)[0] == "BROADCAST"
    assert _payouts(world) == [("broadcast",)]
    world.settle_all()
    assert world.withdrawal(withdrawal)[0] == "CONFIRMED"


def test_after_a_backup_what_nothing_was_signed_for_is_paid_by_nobody(world: World) -> None:
    withdrawal = world.request(250)
    world.payer.run_once()
    world.deliver()
    assert distrust(world.payer.office) == [withdrawal]
    world.payer = world.start_payer()
    world.work(3)
    assert _payouts(world) == []
    assert [each.withdrawal_id for each in found_by(world.payer.office)] == [withdrawal]
    assert "withdrawal-stranded" in world.bells.kinds
    assert found_in(report_on(world.database))["payouts"] == [
        f"{withdrawal}: it is stranded, and paid by nobody: `wallet payer stranded`"
    ]
