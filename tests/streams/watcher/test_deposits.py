"""Payments on real nodes, followed to the credit: what counts, when, how often, and for whom."""

from __future__ import annotations

import pytest

from db.engine import connect
from processors.dogecoin.scripts import p2pkh_script, script_of_address
from processors.dogecoin.transactions import Input, Output, Transaction
from schemas.amounts import KOINU_PER_DOGE
from streams import metrics, overdue
from tests.db.rows import insert
from tests.streams.watcher.lookout import Lookout, user_of
from tests.support.nodes import NETWORK, OurNode

DOGE = KOINU_PER_DOGE


def test_a_payment_is_told_at_first_sight_and_credited_with_its_confirmations(
    lookout: Lookout,
) -> None:
    address = lookout.assign(1)
    watcher = lookout.watcher()
    txid = lookout.node.fund(address, 5 * DOGE)
    lookout.node.mine()
    height = lookout.settle(watcher)
    vout = next(iter(lookout.receipts()))[1]
    block_hash = lookout.tip()[1]
    assert lookout.keys() == [f"detect:{txid}:{vout}:{block_hash}"]
    receipt = lookout.receipts()[txid, vout]
    assert (receipt.user_id, receipt.amount, receipt.height) == (user_of(1), 5 * DOGE, height)
    assert (receipt.required, receipt.credited) == (2, False)
    lookout.node.mine()
    lookout.settle(watcher)
    assert lookout.keys()[1:] == [f"deposit:{txid}:{vout}:1"]
    assert lookout.receipts()[txid, vout].credited
    lookout.node.mine(5)
    lookout.settle(watcher)
    assert len(lookout.keys()) == 2
    assert lookout.tip() == lookout.node_tip()
    assert lookout.unspent() == 5 * DOGE


def test_a_larger_payment_waits_longer(lookout: Lookout) -> None:
    address = lookout.assign(1)
    watcher = lookout.watcher()
    lookout.node.fund(address, 100 * DOGE)
    lookout.node.mine(3)
    lookout.settle(watcher)
    assert lookout.keys("process_deposit") == []
    lookout.node.mine()
    lookout.settle(watcher)
    assert len(lookout.keys("process_deposit")) == 1


def test_small_payments_of_one_user_are_held_to_what_they_add_up_to(lookout: Lookout) -> None:
    address, other = lookout.assign(1), lookout.assign(2)
    watcher = lookout.watcher()
    for _ in range(3):
        lookout.node.fund(address, 40 * DOGE)
    lookout.node.fund(other, 40 * DOGE)
    lookout.node.mine()
    lookout.settle(watcher)
    required = {(each.user_id, each.required) for each in lookout.receipts().values()}
    assert required == {(user_of(1), 4), (user_of(2), 2)}


def test_a_later_payment_holds_back_an_earlier_one_that_is_not_credited(lookout: Lookout) -> None:
    address = lookout.assign(1)
    watcher = lookout.watcher()
    lookout.node.fund(address, 60 * DOGE)
    lookout.node.mine()
    lookout.settle(watcher)
    lookout.node.fund(address, 60 * DOGE)
    lookout.node.mine()
    lookout.settle(watcher)
    assert [each.required for each in lookout.receipts().values()] == [4, 4]
    assert lookout.keys("process_deposit") == []


def test_too_little_is_told_and_never_credited(lookout: Lookout) -> None:
    address = lookout.assign(1)
    watcher = lookout.watcher()
    lookout.node.fund(address, DOGE - 1)
    lookout.node.mine(8)
    lookout.settle(watcher)
    (receipt,) = lookout.receipts().values()
    assert (receipt.amount, receipt.sufficient, receipt.credited) == (DOGE - 1, False, False)
    assert len(lookout.keys("detect_deposit")) == 1
    assert lookout.keys("process_deposit") == []
    assert lookout.unspent() == DOGE - 1


def test_a_mined_coin_waits_until_it_can_be_spent(lookout: Lookout) -> None:
    address = lookout.assign(1)
    watcher = lookout.watcher()
    lookout.node.call("generatetoaddress", 1, address)
    lookout.settle(watcher)
    (receipt,) = lookout.receipts().values()
    # The network's own rule: litecoind, which waits longer, is asked for no more than Dogecoin.
    assert receipt.required == 60
    lookout.node.mine(58)
    lookout.settle(watcher)
    assert lookout.keys("process_deposit") == []
    lookout.node.mine()
    lookout.settle(watcher)
    assert len(lookout.keys("process_deposit")) == 1


def _pay_all(node: OurNode, outputs: list[Output]) -> str:
    """One transaction of the miner's with these outputs, and change."""
    node.mine(node.maturity + 1)
    block = node.call("getblock", node.call("getblockhash", 1), 2)
    coinbase = block["tx"][0]
    amount = round(coinbase["vout"][0]["value"] * DOGE)
    fee = DOGE
    change = Output(amount - sum(o.amount for o in outputs) - fee, node.miner.script)
    spent = Transaction((Input(coinbase["txid"], 0),), (*outputs, change))
    carried = node.miner.sign(spent)
    txid: str = node.call("sendrawtransaction", carried.raw.hex())
    return txid


def test_each_output_of_one_transaction_is_a_payment_of_its_own(our_lookout: Lookout) -> None:
    node = our_lookout.node
    assert isinstance(node, OurNode)
    address, other = our_lookout.assign(1), our_lookout.assign(2)
    outputs = [
        Output(amount * DOGE, script_of_address(to, NETWORK))
        for to, amount in ((address, 3), (address, 3), (other, 7))
    ]
    txid = _pay_all(node, outputs)
    node.mine(2)
    our_lookout.settle(our_lookout.watcher())
    assert [(r.vout, r.user_id, r.amount) for r in our_lookout.receipts().values()] == [
        (0, user_of(1), 3 * DOGE),
        (1, user_of(1), 3 * DOGE),
        (2, user_of(2), 7 * DOGE),
    ]
    assert our_lookout.keys("process_deposit") == [f"deposit:{txid}:{n}:1" for n in range(3)]


def test_an_output_that_others_can_spend_too_is_not_ours(our_lookout: Lookout) -> None:
    node = our_lookout.node
    assert isinstance(node, OurNode)
    our_lookout.assign(1)
    multisig = bytes((0x51, 33)) + node.miner.public_key + bytes((0x51, 0xAE))
    raw_key = bytes((33,)) + node.miner.public_key + bytes((0xAC,))
    _pay_all(node, [Output(3 * DOGE, script) for script in (multisig, raw_key)])
    node.mine(3)
    our_lookout.settle(our_lookout.watcher())
    assert our_lookout.receipts() == {}


def test_an_address_is_watched_from_the_moment_that_it_can_be_shown(lookout: Lookout) -> None:
    watcher = lookout.watcher()
    lookout.node.mine(3)
    lookout.settle(watcher)
    first = lookout.assign(1)
    lookout.node.fund(first, 5 * DOGE)
    second = lookout.assign(2)
    lookout.node.fund(second, 6 * DOGE)
    lookout.node.mine()
    lookout.settle(watcher)
    assert {r.user_id for r in lookout.receipts().values()} == {user_of(1), user_of(2)}


def test_a_coin_made_and_spent_in_one_block_is_seen_with_its_spend(our_lookout: Lookout) -> None:
    """The miner's own script stands in for ours, whose key nobody has here."""
    node = our_lookout.node
    assert isinstance(node, OurNode)
    our_lookout.watch_script(node.miner.script[3:-2], node.miner.address)
    first = _pay_all(node, [Output(50 * DOGE, node.miner.script)])
    spent = Transaction((Input(first, 0),), (Output(49 * DOGE, p2pkh_script(bytes(range(20)))),))
    second = node.call("sendrawtransaction", node.miner.sign(spent).raw.hex())
    node.mine()
    our_lookout.settle(our_lookout.watcher())
    spends = our_lookout.rows("SELECT spender_txid FROM spends WHERE (txid, vout) = (%s, 0)", first)
    assert spends == [(second,)]
    coin = our_lookout.rows(
        "SELECT height, spent_height FROM coins WHERE (txid, vout) = (%s, 0)", first
    )
    assert coin == [(our_lookout.tip()[0],) * 2]
    row = our_lookout.rows(
        "SELECT outputs_hash, paid, inputs FROM spenders WHERE txid = %s", second
    )
    assert row == [(spent.outputs_hash, 49 * DOGE, 1)]


def test_a_start_at_a_birthday_looks_at_nothing_older(lookout: Lookout) -> None:
    address = lookout.assign(1)
    lookout.node.fund(address, 5 * DOGE)
    lookout.node.mine()
    birthday = lookout.node.call("getblockcount") + 1
    watcher = lookout.watcher(birthday_height=birthday)
    watcher.run_once()
    assert watcher.fault() is not None
    assert str(birthday) in str(watcher.fault())
    lookout.node.fund(address, 6 * DOGE)
    lookout.node.mine()
    lookout.settle(watcher)
    assert [r.amount for r in lookout.receipts().values()] == [6 * DOGE]
    assert lookout.rows("SELECT min(height) FROM blocks") == [(birthday,)]


def test_a_deposit_that_the_ledger_refused_is_told_until_it_is_settled(
    our_lookout: Lookout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overdue, "_EVERY_SECONDS", 0.0)
    lookout = our_lookout
    address = lookout.assign(1)
    watcher = lookout.watcher()
    lookout.node.fund(address, 5 * DOGE)
    lookout.node.mine(3)
    lookout.settle(watcher)
    (key,) = lookout.keys("process_deposit")
    _, txid, vout, _ = key.split(":")
    with connect(lookout.database.owner_url, application_name="test") as ledger:
        ledger.execute("UPDATE watcher_outbox SET sent_at = now()")
        insert(
            ledger,
            "commands",
            {
                "topic": 2,
                "user_id": user_of(1),
                "type": "process_deposit",
                "idempotency_key": key,
                "outcome": "rejected",
                "code": "balance_overflow",
            },
        )
    lookout.settle(watcher)
    lookout.settle(watcher)
    assert (lookout.desk.alarms, lookout.desk.subjects) == (["deposit-refused"], [key])
    assert metrics.REFUSED._value.get() == 1
    with connect(lookout.database.owner_url, application_name="test") as ledger:
        insert(ledger, "deposits", {"txid": txid, "vout": int(vout), "user_id": user_of(1)})
    lookout.settle(watcher)
    assert metrics.REFUSED._value.get() == 0
