"""Reorganisations on real nodes: undone block by block, reversed once, credited again once."""

from __future__ import annotations

import pytest

from schemas.amounts import KOINU_PER_DOGE
from streams.watcher.process import resume
from tests.streams.watcher.lookout import Lookout
from tests.support.nodes import OurNode

DOGE = KOINU_PER_DOGE


def _credited(lookout: Lookout, number: int = 1, amount: int = 5 * DOGE) -> tuple[str, int]:
    """A payment that is credited, two blocks deep; its outpoint."""
    txid = lookout.node.fund(lookout.assign(number), amount)
    lookout.node.mine(2)
    lookout.settle(lookout.watcher())
    (outpoint,) = [each for each in lookout.receipts() if each[0] == txid]
    assert lookout.receipts()[outpoint].credited
    return outpoint


def test_what_the_chain_took_back_is_reversed_and_credited_again_once(lookout: Lookout) -> None:
    txid, vout = _credited(lookout)
    (watcher,) = lookout.watchers
    first = lookout.keys()
    lookout.node.reorganise(2, empty=True)
    lookout.settle(watcher)
    receipt = lookout.receipts()[txid, vout]
    assert (receipt.height, receipt.creditings, receipt.credited) == (None, 1, False)
    assert lookout.keys() == [*first, f"reversal:{txid}:{vout}:1"]
    assert lookout.unspent() == 0
    assert lookout.desk.alarms == ["deposit-reversed"]
    lookout.node.mine(3)
    lookout.settle(watcher)
    block_hash = lookout.rows("SELECT block_hash FROM receipts")[0][0]
    assert lookout.keys()[len(first) + 1 :] == [
        f"detect:{txid}:{vout}:{block_hash}",
        f"deposit:{txid}:{vout}:2",
    ]
    assert lookout.unspent() == 5 * DOGE
    assert lookout.tip() == lookout.node_tip()


def test_a_payment_that_moves_to_another_block_is_reversed_all_the_same(lookout: Lookout) -> None:
    """Its confirmations begin anew, and it may yet be double spent."""
    # So that the coin it spends is old enough on any branch.
    lookout.node.mine(lookout.node.maturity + 5)
    txid, vout = _credited(lookout)
    (watcher,) = lookout.watchers
    lookout.node.reorganise(3)
    lookout.settle(watcher)
    assert lookout.keys("reverse_deposit") == [f"reversal:{txid}:{vout}:1"]
    assert lookout.keys("process_deposit") == [f"deposit:{txid}:{vout}:{n}" for n in (1, 2)]


def test_an_uncredited_payment_is_neither_reversed_nor_forgotten(lookout: Lookout) -> None:
    address = lookout.assign(1)
    watcher = lookout.watcher()
    lookout.node.fund(address, 5 * DOGE)
    lookout.node.mine()
    lookout.settle(watcher)
    lookout.node.reorganise(1, empty=True)
    lookout.settle(watcher)
    (receipt,) = lookout.receipts().values()
    assert receipt.height is None
    assert lookout.keys("reverse_deposit") == []
    lookout.node.mine(2)
    lookout.settle(watcher)
    assert len(lookout.keys("detect_deposit")) == 2
    assert len(lookout.keys("process_deposit")) == 1


def test_a_deposit_below_the_fork_keeps_its_credit(lookout: Lookout) -> None:
    _credited(lookout)
    (watcher,) = lookout.watchers
    lookout.node.mine(3)
    lookout.settle(watcher)
    lookout.node.reorganise(3)
    lookout.settle(watcher)
    assert lookout.keys("reverse_deposit") == []
    assert lookout.tip() == lookout.node_tip()


def test_a_branch_that_comes_back_is_followed_back(lookout: Lookout) -> None:
    """Its blocks are known, and what they say was said: only creditings are counted anew."""
    txid, vout = _credited(lookout)
    (watcher,) = lookout.watchers
    height, old_tip = lookout.tip()
    lookout.node.reorganise(2, empty=True)
    lookout.settle(watcher)
    lookout.node.call("invalidateblock", lookout.node.call("getblockhash", height - 1))
    lookout.node.call("reconsiderblock", old_tip)
    lookout.settle(watcher)
    assert lookout.tip() == lookout.node_tip()
    assert lookout.rows("SELECT active FROM blocks WHERE hash = %s", old_tip) == [(True,)]
    assert len(lookout.keys("detect_deposit")) == 1
    assert lookout.keys("process_deposit") == [f"deposit:{txid}:{vout}:{n}" for n in (1, 2)]


def test_a_node_that_fell_behind_on_our_chain_makes_nobody_undo_anything(lookout: Lookout) -> None:
    _credited(lookout)
    (watcher,) = lookout.watchers
    height, tip = lookout.tip()
    lookout.node.call("invalidateblock", tip)
    assert watcher.run_once() == 0
    assert "our own chain" in str(watcher.fault())
    assert lookout.tip() == (height, tip)
    lookout.node.call("reconsiderblock", tip)
    lookout.settle(watcher)
    assert lookout.keys("reverse_deposit") == []


def test_a_fork_as_deep_as_allowed_is_followed_and_one_block_more_halts(lookout: Lookout) -> None:
    outpoint = _credited(lookout)
    watcher = lookout.watcher(reorganisation_max=4)
    lookout.watchers[0].close()
    lookout.node.mine(2)
    lookout.settle(watcher)
    lookout.node.reorganise(4)
    lookout.settle(watcher)
    assert lookout.tip() == lookout.node_tip()
    lookout.node.mine(6)
    lookout.settle(watcher)
    tip = lookout.tip()
    lookout.node.reorganise(5)
    assert watcher.run_once() == 0
    assert "more than 4 blocks" in str(watcher.fault())
    assert lookout.tip() == tip
    assert "deep-reorganisation" in lookout.desk.alarms
    # Nor does another process follow, until an operator has looked.
    watcher.close()
    successor = lookout.watcher(reorganisation_max=5)
    assert successor.run_once() == 0
    assert "--resume" in str(successor.fault())
    assert "more than 4 blocks" in str(resume(lookout.settings))
    assert resume(lookout.settings) is None
    lookout.settle(successor)
    assert lookout.tip() == lookout.node_tip()
    assert outpoint in lookout.receipts()


def test_a_chain_that_has_nothing_in_common_with_ours_halts(lookout: Lookout) -> None:
    lookout.node.mine(3)
    height = lookout.node.call("getblockcount")
    watcher = lookout.watcher(birthday_height=height)
    lookout.node.mine(2)
    lookout.settle(watcher)
    lookout.node.reorganise(3)
    watcher.run_once()
    assert "no block in common" in str(watcher.fault())


@pytest.fixture
def node(our_node: OurNode) -> OurNode:
    """Our own, which malleates and double spends on request."""
    return our_node


def test_a_malleated_twin_is_a_payment_of_its_own_and_the_first_one_is_taken_back(
    our_lookout: Lookout, node: OurNode
) -> None:
    txid, vout = _credited(our_lookout)
    (watcher,) = our_lookout.watchers
    node.call("wallet_reorganise", {"depth": 2, "blocks": [{"malleate": [txid]}, {}, {}]})
    our_lookout.settle(watcher)
    receipts = our_lookout.receipts()
    assert len(receipts) == 2
    ((twin, at),) = set(receipts) - {(txid, vout)}
    assert (receipts[txid, vout].height, receipts[txid, vout].credited) == (None, False)
    assert receipts[twin, at].credited
    assert our_lookout.keys("reverse_deposit") == [f"reversal:{txid}:{vout}:1"]
    assert our_lookout.keys("process_deposit") == [
        f"deposit:{txid}:{vout}:1",
        f"deposit:{twin}:{at}:1",
    ]
    assert our_lookout.unspent() == 5 * DOGE


def test_a_payment_that_was_double_spent_never_comes_back(
    our_lookout: Lookout, node: OurNode
) -> None:
    txid, vout = _credited(our_lookout)
    (watcher,) = our_lookout.watchers
    node.call("wallet_reorganise", {"depth": 2, "drop": [txid]})
    node.mine(5)
    our_lookout.settle(watcher)
    assert our_lookout.receipts()[txid, vout].height is None
    assert our_lookout.keys("process_deposit") == [f"deposit:{txid}:{vout}:1"]
    assert our_lookout.unspent() == 0


def test_a_spend_whose_block_is_undone_is_no_spend(our_lookout: Lookout, node: OurNode) -> None:
    """The miner's own script stands in for ours, whose key nobody has here."""
    our_lookout.watch_script(node.miner.script[3:-2], node.miner.address)
    watcher = our_lookout.watcher()
    node.mine(node.maturity + 1)
    our_lookout.settle(watcher)
    elsewhere = our_lookout.assign(7)
    spender = node.fund(elsewhere, 5 * DOGE)
    node.mine()
    our_lookout.settle(watcher)
    query = "SELECT spender_txid FROM spends"
    marked = "SELECT DISTINCT spent_height FROM coins WHERE spent_height IS NOT NULL"
    assert our_lookout.rows(query) == [(spender,)]
    assert our_lookout.rows(marked) == [(our_lookout.tip()[0],)]
    before = our_lookout.unspent()
    node.reorganise(1, empty=True)
    our_lookout.settle(watcher)
    assert our_lookout.rows(query) == []
    assert our_lookout.rows(marked) == []
    assert our_lookout.unspent() > before
    assert our_lookout.rows("SELECT block_hash, height FROM spenders") == [(None, None)]
    node.mine()
    our_lookout.settle(watcher)
    assert our_lookout.rows(query) == [(spender,)]
    assert our_lookout.rows(marked) == [(our_lookout.tip()[0],)]
    assert our_lookout.unspent() >= before
