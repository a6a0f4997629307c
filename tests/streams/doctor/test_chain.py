"""The doctor by the chain: nothing while things are under way, and each damage by its check."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

from streams.local.node.mining import Plan
from streams.payer.housework import consolidate, sweep
from tests.conftest import Database, Databases
from tests.streams.doctor.looking import (
    ONCHAIN,
    case_of,
    damage,
    found_in,
    left_out_of,
    report_on,
)
from tests.streams.payer.world import World, world_on
from tests.support.books import ANN, BOB, doge

RATE: Final = 1_000_000


def play(world: World) -> None:
    """Deposits, paid and open withdrawals, a joining, a sweep, and a block that was undone."""
    for amount in (20, 30, 40, 50):
        world.deposit(amount)
    world.deposit(2000, BOB)
    world.request(60, BOB)
    world.request(35)
    world.settle_all()
    consolidate(world.payer.office, below=doge(45), rate=RATE, dry_run=False)
    world.settle_all()
    sweep(
        world.payer.office,
        address=world.elsewhere(),
        keep=doge(500),
        rate=RATE,
        dry_run=False,
    )
    world.settle_all()
    # One payment is mined and not deep, one is sent, one waits for the ledger.
    world.deposit(70, credited=False)
    world.request(15, BOB)
    world.work(3)
    world.mine()
    world.request(12, BOB)
    world.work(3)
    world.request(11, BOB)
    world.payer.run_once()


@pytest.fixture(scope="module")
def played(databases: Databases) -> Iterator[Databases]:
    """Copies of a database in which coins have moved, and move."""
    database = databases.fresh()
    with world_on(database) as world:
        play(world)
    yield Databases(server=databases.server, template=database.name)


@pytest.fixture
def books(played: Databases) -> Iterator[Database]:
    """The test's own copy."""
    copy = played.fresh()
    yield copy
    played.drop(copy.name)


def test_coins_that_have_moved_and_move_are_in_order(books: Database) -> None:
    report = report_on(books)
    assert found_in(report) == {}
    looked = {check.check: check.subjects for check in report.checks}
    assert all(looked[name] for name in ONCHAIN), looked
    left_out = left_out_of(report)
    assert ONCHAIN.isdisjoint(left_out)
    assert left_out["node"] == "no node is named (WALLET_NODE_URL)"


_UNSPENT: Final = """(SELECT c.txid FROM coins c JOIN watched_scripts s USING (public_key_hash)
    WHERE s.chain = %s AND c.height IS NOT NULL AND NOT EXISTS
          (SELECT FROM spends x WHERE x.txid = c.txid AND x.vout = c.vout)
    ORDER BY c.txid LIMIT 1)"""
_RECEIPT: Final = _UNSPENT % 0
_CHANGE: Final = _UNSPENT % 1
_LAST_SPENDER: Final = (
    "(SELECT txid FROM spenders WHERE height IS NOT NULL ORDER BY height DESC, txid LIMIT 1)"
)
_PAID: Final = "(SELECT min(id::text)::uuid FROM withdrawals WHERE status = 'CONFIRMED')"
_SENT: Final = "(SELECT min(id::text)::uuid FROM withdrawals WHERE status = 'BROADCAST')"
_OPEN: Final = "(SELECT min(id) FROM payouts WHERE status = 'broadcast')"

DAMAGES: Final = {
    "a block put in the place of another": case_of(
        "blocks",
        "but the block below it is",
        "UPDATE blocks SET previous_hash = repeat('0', 64) WHERE height = 5",
    ),
    "a block taken out": case_of(
        "blocks",
        "at height 3",
        "DELETE FROM blocks WHERE height = 4",
    ),
    "a script watched for nobody": case_of(
        "scripts",
        "who was never given it",
        "UPDATE watched_scripts SET user_id = 'eeeeeeee-eeee-4eee-8eee-eeeeeeeeeeee'"
        f" WHERE user_id = '{ANN}'",
        also="coins",
    ),
    "a script that is no longer watched": case_of(
        "scripts",
        "nobody watches it",
        "DELETE FROM watched_scripts WHERE chain = 0 AND derivation_index = 0",
        also="coins",
    ),
    "change of an index that was not given out": case_of(
        "scripts",
        "it is watched as change",
        "UPDATE change_counters SET next_index = 0",
    ),
    "a coin of another amount": case_of(
        "coins",
        "but the receipt says",
        f"UPDATE coins SET amount = amount + 1 WHERE txid = {_RECEIPT}",
        also="books and coins",
    ),
    "a coin of nobody": case_of(
        "coins",
        "no script that is watched",
        f"UPDATE coins SET public_key_hash = decode(repeat('11', 20), 'hex')"
        f" WHERE txid = {_RECEIPT}",
    ),
    "a coin in a block that was left": case_of(
        "coins",
        "is not on the chain",
        f"UPDATE coins SET block_hash = repeat('0', 64) WHERE txid = {_CHANGE} AND vout = (SELECT"
        f" min(vout) FROM coins WHERE txid = {_CHANGE})",
    ),
    "a receipt without a coin": case_of(
        "coins",
        "a user's receipt, but no coin",
        f"DELETE FROM coins WHERE txid = {_RECEIPT}",
        also="books and coins",
    ),
    "a spend of what is not ours": case_of(
        "spends",
        "it is no coin of ours",
        "INSERT INTO spends (txid, vout, spender_txid, height)"
        f" SELECT repeat('1', 64), 0, txid, height FROM spenders WHERE txid = {_LAST_SPENDER}",
    ),
    "a spend by nothing that is known": case_of(
        "spends",
        "of which nothing is known",
        f"UPDATE spends SET spender_txid = repeat('2', 64) WHERE spender_txid = {_LAST_SPENDER}",
        also="books and coins, spends",
    ),
    "a coin that is spent and says it is not": case_of(
        "spends",
        "but the coin says unspent",
        "UPDATE coins SET spent_height = NULL WHERE (txid, vout) IN (SELECT txid, vout FROM spends"
        f" WHERE spender_txid = {_LAST_SPENDER} LIMIT 1)",
    ),
    "a coin that says it is spent and is not": case_of(
        "spends",
        "but nothing spends it",
        f"UPDATE coins SET spent_height = 7 WHERE txid = {_RECEIPT}",
    ),
    "a spender in a block that was left": case_of(
        "spends",
        "is not in the chain's block there",
        f"UPDATE spenders SET block_hash = repeat('0', 64) WHERE txid = {_LAST_SPENDER}",
    ),
    "a spender that creates money": case_of(
        "spends",
        "but its inputs are",
        f"UPDATE spenders SET paid = paid + 100000000000000 WHERE txid = {_LAST_SPENDER}",
    ),
    "somebody else with the key": case_of(
        "outflows",
        "does somebody else have the key?",
        "UPDATE payout_versions SET txid = repeat('3', 64),"
        f" outputs_hash = decode(repeat('33', 32), 'hex') WHERE txid = {_LAST_SPENDER}",
        also="books and coins",
    ),
    "a payment of more than was signed": case_of(
        "outflows",
        "was to take",
        f"UPDATE payout_versions SET fee = fee + 1 WHERE txid = {_LAST_SPENDER}",
        also="versions, books and coins",
    ),
    "a credit that the ledger has lost": case_of(
        "receipts",
        "but in the ledger",
        "UPDATE receipts SET creditings = creditings + 1 WHERE credited AND txid ="
        " (SELECT min(txid) FROM receipts WHERE credited)",
    ),
    "a receipt that the ledger never heard of": case_of(
        "receipts",
        "the ledger has not heard of it",
        f"DELETE FROM deposits WHERE txid = {_RECEIPT}",
        also="deposits, books and coins",
    ),
    "a receipt of another user": case_of(
        "receipts",
        "but the ledger's deposit is",
        f"UPDATE deposits SET user_id = '{BOB}' WHERE user_id = '{ANN}'",
        also="deposits, deposits as told",
    ),
    "a receipt credited in no block": case_of(
        "receipts",
        "it is credited, but in no block",
        "UPDATE receipts SET height = NULL, block_hash = NULL WHERE credited AND txid ="
        " (SELECT min(txid) FROM receipts WHERE credited)",
        also="coins, books and coins",
    ),
    "a withdrawal that nobody claimed": case_of(
        "versions",
        "but the payout's withdrawals are none",
        f"DELETE FROM claims WHERE withdrawal_id = {_SENT}",
        also="payouts",
    ),
    "a withdrawal paid elsewhere": case_of(
        "versions",
        "but the payout's withdrawals are",
        "UPDATE payout_versions SET template = replace(template::text, destination_address,"
        " 'mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn')::json FROM claims c WHERE c.payout_id ="
        f" payout_versions.payout_id AND c.withdrawal_id = {_SENT}",
    ),
    "a sweep to another address": case_of(
        "versions",
        "but was to sweep to",
        "UPDATE payouts SET target_address = 'mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn'"
        " WHERE kind = 'sweep'",
    ),
    "change to a stranger": case_of(
        "versions",
        "which is not watched",
        "DELETE FROM watched_scripts WHERE chain = 1 AND derivation_index ="
        " (SELECT max(derivation_index) FROM watched_scripts WHERE chain = 1)",
    ),
    "an input of another amount": case_of(
        "versions",
        "its inputs are",
        f"UPDATE payout_versions SET fee = fee + 5 WHERE payout_id = {_OPEN}",
        also="outflows, books and coins",
    ),
    "a coin let go too early": case_of(
        "versions",
        "which is not reserved for it",
        f"DELETE FROM reservations WHERE payout_id = {_OPEN}",
    ),
    "a claim of another amount": case_of(
        "payouts",
        "but its claim is of",
        f"UPDATE claims SET amount = amount + 1 WHERE withdrawal_id = {_SENT}",
        also="versions",
    ),
    "a withdrawal sent, of which the payer knows nothing": case_of(
        "payouts",
        "but no payout pays it",
        f"UPDATE claims SET payout_id = NULL WHERE withdrawal_id = {_SENT}",
        also="versions",
    ),
    "a claim that waits for ever": case_of(
        "payouts",
        "its claim has no outcome",
        "UPDATE claims SET outcome = NULL, settled_at = NULL, payout_id = NULL"
        f" WHERE withdrawal_id = {_SENT}",
        also="versions",
    ),
    "a claim that was never sent": case_of(
        "payouts",
        "its claim was never sent",
        "DELETE FROM payer_outbox WHERE id ="
        " (SELECT max(id) FROM payer_outbox WHERE type = 'claim_withdrawal')",
    ),
    "a withdrawal failed while it is paid": case_of(
        "payouts",
        "it is FAILED, but payout",
        f"UPDATE withdrawals SET status = 'FAILED', reason = 'x' WHERE id = {_SENT}",
        also="withdrawals, withdrawals as told, holds",
    ),
    "a withdrawal confirmed before the payer says so": case_of(
        "payouts",
        "it is CONFIRMED, but payout",
        f"UPDATE withdrawals SET status = 'CONFIRMED' WHERE id = {_SENT}",
        also="withdrawals, withdrawals as told, holds, books and coins",
    ),
    "a withdrawal confirmed by nothing": case_of(
        "payouts",
        "which is not on the chain",
        "UPDATE withdrawals SET txid = repeat('4', 64) WHERE status = 'CONFIRMED'",
        "UPDATE payouts p SET confirmed_txid = repeat('4', 64) FROM claims c"
        f" WHERE c.payout_id = p.id AND c.withdrawal_id = {_PAID}",
        also="withdrawals as told, books and coins",
    ),
    "a withdrawal confirmed by another transaction": case_of(
        "payouts",
        "it was confirmed by",
        f"UPDATE withdrawals SET txid = {_LAST_SPENDER} WHERE id = {_PAID}",
        also="withdrawals as told",
    ),
    "a claim of no withdrawal": case_of(
        "payouts",
        "the ledger has no such withdrawal",
        "INSERT INTO claims (withdrawal_id, user_id, amount, destination_address) VALUES"
        f" ('eeeeeeee-eeee-4eee-8eee-eeeeeeeeeeee', '{ANN}', 5, 'x')",
    ),
    "coins held for a payout that was given up": case_of(
        "reservations",
        "which was given up",
        f"UPDATE payouts SET status = 'failed', failure = 'x' WHERE id = {_OPEN}",
        also="payouts, outflows",
    ),
    "what is reserved is no coin": case_of(
        "reservations",
        "is no coin of ours",
        f"INSERT INTO reservations SELECT repeat('5', 64), 0, {_OPEN}",
    ),
    "a coin and a withdrawal in two payouts": case_of(
        "reservations",
        "pay it",
        "INSERT INTO payouts (kind, status) VALUES ('withdrawals', 'reserved')",
        "INSERT INTO payout_versions (payout_id, version, template, fee) SELECT (SELECT max(id)"
        f" FROM payouts), 1, template, fee FROM payout_versions WHERE payout_id = {_OPEN}",
        also="versions",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_each_kind_of_damage_is_found_by_its_check(books: Database, name: str) -> None:
    case = DAMAGES[name]
    damage(books, *case.statements)
    found = found_in(report_on(books))
    assert any(case.words in detail for detail in found.get(case.check, ())), found
    assert set(found) - {case.check} == case.others - {case.check}, found


# ---------------------------------------------------------------------- while things are under way


def test_nothing_is_found_between_any_two_steps(world: World) -> None:
    def hold(moment: str) -> None:
        report = report_on(world.database)
        assert found_in(report) == {}, moment
        assert ONCHAIN.isdisjoint(left_out_of(report)), moment

    def pay(moment: str) -> None:
        """The payer goes round; its commands reach the ledger one by one."""
        for _ in range(4):
            world.payer.run_once()
            hold(f"{moment}: decided")
            while world.deliver(1):
                hold(f"{moment}: told")

    world.request(100)
    world.request(50)
    hold("requested")
    pay("paid")
    world.mine()
    hold("mined")
    world.mine(3)
    hold("deep, and nobody has looked")
    pay("confirmed")
    confirmed = world.till.value("SELECT confirmed_txid FROM payouts")
    world.node.reorganise(6, [Plan(malleate=[confirmed]), *(Plan() for _ in range(6))])
    world.follower.follow()
    hold("a twin has taken its place")
    pay("confirmed again")
    world.settle_all()
    hold("settled")


def test_a_confirmed_payment_that_left_the_chain_is_under_way(world: World) -> None:
    world.request(100)
    world.work(3)
    world.mine(4)
    world.work(2)
    world.node.reorganise(5, [Plan(txids=()) for _ in range(6)])
    world.follower.follow()
    assert found_in(report_on(world.database)) == {}
    world.payer.run_once()
    assert found_in(report_on(world.database)) == {}
    world.deliver()
    assert found_in(report_on(world.database)) == {}


def test_a_theft_is_told_by_its_transaction_and_as_coins_that_are_missing(world: World) -> None:
    world.request(100)
    world.payer.run_once()
    world.deliver()
    world.payer.run_once()
    world.node.send(world.stolen(world.elsewhere()))
    world.mine()
    found = found_in(report_on(world.database))
    assert "does somebody else have the key?" in found["outflows"][0]
    assert "of the books are without coins" in found["books and coins"][0]


def test_where_no_chain_is_followed_nothing_is_said_of_it(database: Database) -> None:
    left_out = left_out_of(report_on(database))
    assert {left_out[name] for name in ONCHAIN} == {"nothing is followed on a chain"}


def test_a_watcher_that_catches_up_is_waited_for(books: Database) -> None:
    damage(books, "UPDATE chain_state SET node_height = node_height + 700, halted = 'too deep'")
    report = report_on(books)
    assert found_in(report) == {}
    reason = left_out_of(report)["books and coins"]
    assert reason == "the watcher is 700 blocks behind the node, halted: too deep"


def test_change_that_is_not_the_accounts_own_is_found(books: Database) -> None:
    damage(
        books,
        "UPDATE watched_scripts SET derivation_index = 77 WHERE derivation_index = 1 AND chain = 1",
        "UPDATE change_counters SET next_index = 100",
    )
    found = found_in(report_on(books))
    assert set(found) == {"derivation"}
    assert "the account's change 77 is" in found["derivation"][0]
