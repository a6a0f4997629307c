"""Each step of the payer by itself, on real tables and a real chain in memory."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from db.treasury.outboxes import Order
from processors.dogecoin.checking import TemplateUnsound
from schemas.commands import FailWithdrawal, FreezeWallet, UnfreezeWallet
from schemas.payouts import PayoutKind
from streams.local.node.mining import Plan
from streams.node.client import NodeAway
from streams.payer import templates
from streams.payer.claiming import claim
from streams.payer.reserving import reserve_coins
from streams.payer.sealing import require_agreement, seal
from streams.payer.sending import send
from streams.payer.settling import settle
from tests.conftest import Database
from tests.streams.payer.wire import Trouble
from tests.streams.payer.world import World, world_on
from tests.support.books import ANN, BOB, doge


@pytest.fixture
def world(database: Database) -> Iterator[World]:
    """A world in which one user has 1,000 DOGE."""
    with world_on(database) as made:
        made.deposit(1000)
        yield made


def _orders(world: World, kind: str) -> list[Order]:
    return [
        Order(*row)
        for row in world.till.rows(
            "SELECT user_id::text, type, idempotency_key, data::text FROM payer_outbox"
            " WHERE type = %s ORDER BY id",
            kind,
        )
    ]


def _payouts(world: World) -> list[tuple[str, str | None]]:
    return world.till.rows("SELECT status::text, failure FROM payouts ORDER BY id")


def _versions(world: World) -> int:
    return int(world.till.value("SELECT count(*) FROM payout_versions"))


def test_a_withdrawal_is_claimed_paid_and_confirmed(world: World) -> None:
    address = world.elsewhere()
    withdrawal = world.request(250, address=address)
    world.work(3)
    assert world.withdrawal(withdrawal)[0] == "BROADCAST"
    world.mine(2)
    world.work()
    assert world.withdrawal(withdrawal)[0] == "BROADCAST"
    world.mine()
    world.work()
    assert world.withdrawal(withdrawal)[0] == "CONFIRMED"
    assert world.paid_on_chain()[address] == doge(250)
    assert world.bells.rung == []
    world.till.audit()


def test_pay_to_script_hash_is_paid_too(world: World) -> None:
    address = world.elsewhere(p2sh=True)
    world.request(250, address=address)
    world.work(3)
    world.mine()
    assert world.paid_on_chain()[address] == doge(250)


def test_a_claim_waits_for_company_until_it_is_old_enough(world: World) -> None:
    world.hurry(wait_seconds=3600.0, withdrawals_max=2)
    # The log's time stands still in the past; what was just asked is young.
    world.till.log._time = time.time_ns() // 1_000_000
    world.request(10)
    assert claim(world.payer.office) == 0
    world.request(10)
    assert claim(world.payer.office) == 2


def test_nothing_is_reserved_before_the_claim_is_accepted_in_the_ledger(world: World) -> None:
    world.request(10)
    office = world.payer.office
    assert claim(office) == 1
    assert (settle(office), reserve_coins(office)) == (0, 0)
    world.deliver()
    assert (settle(office), reserve_coins(office)) == (1, 1)


def test_a_cancel_before_the_claim_wins_and_nothing_is_paid(world: World) -> None:
    withdrawal = world.request(10)
    claim(world.payer.office)
    assert world.cancel(withdrawal) == "accepted"
    world.work(3)
    assert world.withdrawal(withdrawal)[0] == "FAILED"
    assert _payouts(world) == []
    assert world.till.rows("SELECT outcome, code FROM claims") == [
        ("rejected", "withdrawal_wrong_status")
    ]


def test_a_cancel_after_the_claim_is_refused(world: World) -> None:
    withdrawal = world.request(10)
    claim(world.payer.office)
    world.deliver()
    assert world.cancel(withdrawal) == "rejected"


def test_a_frozen_wallets_withdrawal_is_claimed_again_once_it_thaws(world: World) -> None:
    withdrawal = world.request(10)
    world.till.do(FreezeWallet(reason="x"))
    world.work(2)
    assert world.withdrawal(withdrawal)[0] == "PENDING"
    world.till.do(UnfreezeWallet())
    world.work(2)
    assert world.withdrawal(withdrawal)[0] == "BROADCAST"
    keys = [order.idempotency_key for order in _orders(world, "claim_withdrawal")]
    assert keys[0] == f"claim:{withdrawal}"
    assert keys[-1] == f"claim:{withdrawal}:{len(keys)}"


def test_a_withdrawal_that_an_operator_failed_is_not_paid(world: World) -> None:
    withdrawal = world.request(10)
    claim(world.payer.office)
    world.deliver()
    world.till.do(FailWithdrawal(withdrawal_id=withdrawal, reason="by hand"))
    world.work(3)
    assert _payouts(world) == []


def test_withdrawals_share_a_transaction_and_each_is_paid(world: World) -> None:
    world.deposit(500, BOB)
    addresses = [world.elsewhere() for _ in range(5)]
    for number, address in enumerate(addresses):
        world.request(20 + number, ANN if number % 2 else BOB, address)
    world.work(3)
    assert _payouts(world) == [("broadcast", None)]
    world.mine()
    paid = world.paid_on_chain()
    assert [paid[address] for address in addresses] == [doge(20 + n) for n in range(5)]


def test_the_same_address_is_paid_twice_if_it_is_asked_twice(world: World) -> None:
    address = world.elsewhere()
    world.request(20, address=address)
    world.request(20, address=address)
    world.work(3)
    world.mine()
    assert world.paid_on_chain()[address] == doge(40)


def test_coins_that_are_not_credited_yet_are_not_spent(world: World) -> None:
    world.request(900)
    world.deposit(5000, BOB, credited=False)
    world.work(3)
    (spent,) = world.till.rows("SELECT txid FROM reservations")
    (credited,) = world.till.rows("SELECT txid FROM receipts WHERE credited")
    assert spent == credited


def test_a_wallet_without_enough_coins_leaves_withdrawals_pending_and_tells_how_much(
    world: World,
) -> None:
    withdrawal = world.request(900)
    # The coins went to cold storage, let us say: nobody can spend them here.
    with world.paying.transaction():
        world.paying.execute(
            "INSERT INTO payouts (kind, status) VALUES ('consolidation', 'reserved')"
        )
        world.paying.execute(
            "INSERT INTO reservations (txid, vout, payout_id)"
            " SELECT txid, vout, (SELECT max(id) FROM payouts) FROM coins"
        )
    world.work(2)
    assert world.withdrawal(withdrawal)[0] == "PENDING"
    ((_, _, detail),) = [ring for ring in world.bells.rung if ring[0] == "out-of-coins"]
    assert "900.10000000 DOGE are missing" in detail
    assert world.cancel(withdrawal) == "accepted"


def test_one_too_large_does_not_hold_up_the_others(world: World) -> None:
    world.deposit(1000, BOB)
    large, small = world.request(950), world.request(20, BOB)
    world.deposit(1, BOB, credited=False)
    with world.paying.transaction():
        world.paying.execute(
            "INSERT INTO payouts (kind, status) VALUES ('consolidation', 'signed')"
        )
        world.paying.execute(
            "INSERT INTO reservations (txid, vout, payout_id)"
            " SELECT txid, vout, (SELECT max(id) FROM payouts) FROM receipts"
            " WHERE user_id = %s AND amount = %s",
            (ANN, doge(1000)),
        )
    world.deposit(100, BOB)
    world.work(3)
    assert {world.withdrawal(large)[0], world.withdrawal(small)[0]} <= {"PENDING", "BROADCAST"}
    assert world.withdrawal(small)[0] == "BROADCAST"


def test_nothing_is_claimed_while_the_watcher_is_halted_or_behind(world: World) -> None:
    world.request(10)
    look = world.payer.blindness
    assert look() is None
    with world.watching() as watching:
        watching.execute("UPDATE chain_state SET halted = 'a fork of 200 blocks'")
        assert claim(world.payer.office) == 0
        assert look() == "the watcher is halted: a fork of 200 blocks"
        watching.execute("UPDATE chain_state SET halted = NULL, node_height = node_height + 3")
        assert claim(world.payer.office) == 0
        assert look() == "the watcher is 3 blocks behind its node"
        watching.execute("UPDATE chain_state SET node_height = node_height - 3")
    assert claim(world.payer.office) == 1


def test_signing_again_after_a_crash_gives_the_same_bytes(world: World) -> None:
    world.request(10)
    world.work()
    office = world.payer.office
    settle(office)
    reserve_coins(office)
    (stored,) = world.till.rows("SELECT template::text FROM payout_versions")
    before = office.signer.sign(templates.read(stored[0].encode())).serialize()
    seal(office)
    assert world.till.value("SELECT raw FROM payout_versions") == before


def test_bytes_and_txid_are_stored_before_anything_is_sent(world: World) -> None:
    world.request(10)
    seen: list[tuple[bytes, str]] = []
    world.step = lambda name: (
        seen.extend(world.till.rows("SELECT raw, txid FROM payout_versions"))
        if name == "send"
        else None
    )
    world.work(2)
    ((raw, txid),) = seen
    assert raw.hex() in world.line.sent
    assert txid in world.node.pool.entries


def test_a_template_that_pays_otherwise_than_its_withdrawals_is_not_signed(world: World) -> None:
    withdrawal = world.request(10)
    world.work()
    office = world.payer.office
    settle(office)
    reserve_coins(office)
    (stored,) = world.till.rows("SELECT template::text FROM payout_versions")
    template = templates.read(stored[0].encode())
    with pytest.raises(TemplateUnsound, match="each of its withdrawals once"):
        require_agreement(template, PayoutKind.WITHDRAWALS, [], template.outpoints)
    with world.owning() as owner:
        owner.execute("UPDATE claims SET amount = amount + 1")
    assert seal(office) == 0
    assert "not-signed" in world.bells.kinds
    assert world.withdrawal(withdrawal)[0] == "PROCESSING"


@pytest.mark.parametrize("trouble", [Trouble.UNHEARD, Trouble.UNANSWERED, Trouble.OVERLOADED])
def test_an_unknown_answer_changes_nothing_but_the_record_of_the_attempt(
    world: World, trouble: Trouble
) -> None:
    withdrawal = world.request(10)
    world.line.troubles.append(trouble)
    world.work(2)
    assert _payouts(world) == [("signed", None)]
    assert world.withdrawal(withdrawal)[0] == "PROCESSING"
    ((sends, answer),) = world.till.rows("SELECT sends, last_answer FROM payout_versions")
    assert sends == 1
    assert answer.startswith("unknown: ")
    assert world.payer.office.node_fault is not None
    world.settle_all()
    assert world.withdrawal(withdrawal)[0] == "CONFIRMED"
    assert _versions(world) == 1


def test_a_fault_of_the_node_is_over_with_its_next_answer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    office = world.payer.office

    def away(blocks: int) -> int | None:
        raise NodeAway("nobody answers")

    with monkeypatch.context() as patch:
        patch.setattr(office.node, "fee_rate", away)
        office.rate()
    assert office.node_fault is not None
    office.rate()
    assert office.node_fault is None


def test_a_payment_whose_every_answer_was_lost_is_confirmed_all_the_same(world: World) -> None:
    withdrawal = world.request(10)
    world.line.troubles.extend([Trouble.UNANSWERED] * 9)
    world.work(2)
    world.mine(3)
    world.work()
    assert world.withdrawal(withdrawal)[0] == "CONFIRMED"
    assert [order.type for order in _orders(world, "record_broadcast")] == ["record_broadcast"]


def test_the_same_bytes_are_sent_at_each_block_and_after_a_while(world: World) -> None:
    world.request(10)
    world.work(2)
    office = world.payer.office
    assert send(office) == 0
    world.node.mine(plan=Plan(txids=()))
    world.follower.follow()
    assert send(office) == 1
    assert send(office) == 0
    world.hurry(rebroadcast_seconds=0.0)
    assert send(office) == 1
    assert len(set(world.line.sent)) == 1
    world.mine()
    assert send(office) == 0


def test_a_payment_that_the_node_forgot_is_sent_until_it_is_mined(world: World) -> None:
    withdrawal = world.request(10)
    world.work(2)
    (txid,) = world.node.pool.entries
    world.node.drop(txid)
    world.settle_all()
    assert world.withdrawal(withdrawal)[0] == "CONFIRMED"


def test_a_late_payment_gets_a_higher_fee_from_change_and_pays_once(world: World) -> None:
    address = world.elsewhere()
    withdrawal = world.request(10, address=address)
    world.work(2)
    world.hurry(bump_seconds=0.0)
    world.work()
    world.hurry(bump_seconds=3600.0)
    first, second = world.till.rows(
        "SELECT fee, txid, template::text FROM payout_versions ORDER BY version"
    )
    assert second[0] > first[0]
    before, after = (templates.read(row[2].encode()) for row in (first, second))
    assert after.payees == before.payees
    assert after.outpoints & before.outpoints
    assert list(world.node.pool.entries) == [second[1]]
    world.settle_all()
    assert world.withdrawal(withdrawal)[1] == second[1]
    assert world.paid_on_chain()[address] == doge(10)


def test_the_version_that_wins_is_the_one_that_was_mined(world: World) -> None:
    withdrawal = world.request(10)
    world.work(2)
    first = world.node.pool.entries[next(iter(world.node.pool.entries))].carried
    world.hurry(bump_seconds=0.0)
    world.work()
    world.hurry(bump_seconds=3600.0)
    world.node.mine(plan=Plan(txids=(), strangers=[first]))
    world.follower.follow()
    world.settle_all()
    assert world.withdrawal(withdrawal)[:2] == ("CONFIRMED", first.txid)


def test_a_malleated_twin_is_adopted(world: World) -> None:
    withdrawal = world.request(10)
    world.work(2)
    (txid,) = world.node.pool.entries
    world.node.mine(plan=Plan(malleate={txid}))
    world.follower.follow()
    world.settle_all()
    status, confirmed, _ = world.withdrawal(withdrawal)
    assert status == "CONFIRMED"
    assert confirmed != txid
    assert world.till.value("SELECT txid FROM network_fees WHERE posted") == confirmed


def test_a_deep_reorganisation_unconfirms_and_the_payment_is_confirmed_again(
    world: World,
) -> None:
    address = world.elsewhere()
    withdrawal = world.request(10, address=address)
    world.work(2)
    world.mine(3)
    world.work()
    world.node.reorganise(3, [Plan(txids=())] * 4)
    world.follower.follow()
    world.work()
    assert world.withdrawal(withdrawal)[0] == "BROADCAST"
    assert "payout-unconfirmed" in world.bells.kinds
    assert world.till.rows("SELECT posted FROM network_fees") == [(False,)]
    world.settle_all()
    assert world.withdrawal(withdrawal)[0] == "CONFIRMED"
    assert world.paid_on_chain()[address] == doge(10)
    assert world.till.rows("SELECT posted, postings FROM network_fees") == [(True, 2)]
    assert world.till.rows("SELECT * FROM reservations") == []


def test_a_reorganisation_below_the_depth_undoes_nothing(world: World) -> None:
    withdrawal = world.request(10)
    world.work(2)
    world.mine(5)
    world.work()
    world.node.reorganise(2, [Plan()] * 3)
    world.follower.follow()
    world.work()
    assert world.withdrawal(withdrawal)[0] == "CONFIRMED"
    assert _orders(world, "unconfirm_withdrawal") == []


def test_coins_stay_reserved_until_nothing_can_bring_them_back(world: World) -> None:
    world.request(10)
    world.work(2)
    world.mine(10)
    world.work()
    assert len(world.till.rows("SELECT * FROM reservations")) == 1
    world.mine(1)
    world.work()
    assert world.till.rows("SELECT * FROM reservations") == []


def test_coins_that_are_lost_before_anything_is_signed_are_replaced_by_others(
    world: World,
) -> None:
    withdrawal = world.request(900)
    world.work()
    office = world.payer.office
    settle(office)
    reserve_coins(office)
    (spent,) = world.till.rows("SELECT txid FROM reservations")
    world.node.reorganise(3, [Plan(leave_out={spent[0]})] * 4, drop={spent[0]})
    world.follower.follow()
    world.deposit(1000, BOB)
    world.settle_all()
    assert world.withdrawal(withdrawal)[0] == "CONFIRMED"
    (first, second) = _payouts(world)
    assert first[0] == "failed"
    assert second == ("confirmed", None)


def test_a_command_that_the_ledger_refuses_is_an_alarm(world: World) -> None:
    withdrawal = world.request(10)
    world.work(2)
    world.till.do(FailWithdrawal(withdrawal_id=withdrawal, reason="by hand"))
    world.mine(3)
    world.payer = world.start_payer()
    world.work(1)
    world.payer = world.start_payer()
    world.work(1)
    assert "command-refused" in world.bells.kinds


def test_nothing_is_done_twice_by_going_round_again(world: World) -> None:
    world.request(10)
    world.work(3)
    world.mine(3)
    world.work(3)
    before = world.till.rows("SELECT idempotency_key FROM payer_outbox ORDER BY id")
    world.payer = world.start_payer()
    world.work(3)
    assert world.till.rows("SELECT idempotency_key FROM payer_outbox ORDER BY id") == before
    assert len(before) == len(set(before)) == 4
