"""What miners take, in which order, and what never reaches them."""

from __future__ import annotations

import pytest

from streams.local.node.blocks import Carried
from streams.local.node.chain import BadBlock
from streams.local.node.malleation import NotMalleable
from streams.local.node.mining import Plan
from streams.local.node.node import NoCoins, Node
from tests.streams.local.node.play import (
    ALICE,
    BOB,
    DOGE,
    FEE,
    REPLACEABLE,
    paid,
    payment,
    purse,
    spend,
)

HOUR = 3_600


def mined(node: Node, plan: Plan | None = None) -> list[str]:
    """The txids of the next block, without its coinbase."""
    block = node.store.block(node.mine(plan=plan))
    return [each.txid for each in block.transactions[1:]]


def sent(node: Node, *payments: Carried) -> list[str]:
    """Their txids, all accepted."""
    return [node.send(each) for each in payments]


def test_the_fees_of_a_block_are_its_miners(node: Node) -> None:
    node.send(payment(node, DOGE, fee=7 * FEE))
    block = node.store.block(node.mine(BOB.script))
    reward = block.transactions[0].body.outputs[0]
    assert reward.amount == node.rules.subsidy(node.chain.height) + 7 * FEE


def test_less_than_a_miner_asks_for_waits(node: Node) -> None:
    size = len(payment(node, DOGE).raw)
    txid = node.send(payment(node, DOGE, fee=size * 950))
    assert mined(node) == []
    assert list(node.pool.entries) == [txid]


def test_a_child_may_pay_for_its_parent(node: Node) -> None:
    parent = payment(node, 10 * DOGE, fee=FEE // 10)
    child = spend(ALICE, [(parent.txid, 0)], [(BOB.script, 9 * DOGE)])
    txids = sent(node, parent, child)
    assert mined(node) == txids


def test_soft_dust_never_reaches_a_miner_unless_it_pays_for_it(node: Node) -> None:
    """The trap of design 6: the own node accepts what its peers will not pass on."""
    cheap = node.send(payment(node, 999_999, fee=FEE))
    assert mined(node) == []
    assert list(node.pool.entries) == [cheap]
    dear = node.send(payment(node, 999_999, fee=FEE + 1_000_000))
    assert mined(node) == [dear]
    assert list(node.pool.entries) == [cheap]


def test_what_pays_best_comes_first(node: Node) -> None:
    low = node.send(payment(node, DOGE))
    high = node.send(payment(node, DOGE, fee=9 * FEE))
    assert mined(node) == [high, low]


def test_a_test_says_which_and_in_which_order(node: Node) -> None:
    txids = sent(node, *(payment_of(node, n) for n in range(3)))
    wished = [txids[2], txids[0]]
    assert mined(node, Plan(txids=wished)) == wished
    assert list(node.pool.entries) == [txids[1]]
    with pytest.raises(BadBlock, match="not in the mempool"):
        node.mine(plan=Plan(txids=["ab" * 32]))


def payment_of(node: Node, n: int) -> Carried:
    """One of several payments that do not touch each other."""
    outpoint, coin = purse(node)[n]
    return spend(node.miner, [outpoint], [(ALICE.script, coin.amount - FEE)])


def test_an_impossible_order_makes_no_block_and_changes_nothing(node: Node) -> None:
    parent = payment(node, 10 * DOGE)
    child = spend(ALICE, [(parent.txid, 0)], [(BOB.script, 9 * DOGE)])
    txids = sent(node, parent, child)
    tip = node.chain.tip
    with pytest.raises(BadBlock):
        node.mine(plan=Plan(txids=list(reversed(txids))))
    assert node.chain.tip == tip
    assert list(node.pool.entries) == txids


def test_what_is_left_out_waits_with_all_that_hangs_on_it(node: Node) -> None:
    parent = payment(node, 10 * DOGE)
    child = spend(ALICE, [(parent.txid, 0)], [(BOB.script, 9 * DOGE)])
    txids = sent(node, parent, child)
    assert mined(node, Plan(leave_out=[parent.txid])) == []
    node.held.add(child.txid)
    assert mined(node) == [parent.txid]
    node.held.clear()
    assert mined(node) == [txids[1]]


def test_what_cannot_be_malleated_makes_no_block(node: Node) -> None:
    outpoint = paid(node, DOGE)
    stranger = Carried.of(spend(ALICE, [outpoint], [(BOB.script, DOGE // 2)]).body)
    with pytest.raises(BadBlock):
        node.mine(plan=Plan(strangers=[stranger, stranger]))
    assert issubclass(NotMalleable, ValueError)


def test_a_day_old_transaction_is_forgotten_with_its_children(node: Node) -> None:
    node.mock_time = node.now()
    parent = payment(node, 10 * DOGE, fee=FEE // 10)
    node.send(parent)
    node.mock_time += 23 * HOUR
    node.send(spend(ALICE, [(parent.txid, 0)], [(BOB.script, 10 * DOGE - FEE // 10)]))
    node.mine(plan=Plan(txids=()))
    assert len(node.pool.entries) == 2
    node.mock_time += HOUR + 1
    node.mine(plan=Plan(txids=()))
    assert not node.pool.entries


def test_sending_again_does_not_make_it_younger(node: Node) -> None:
    node.mock_time = node.now()
    carried = payment(node, DOGE)
    node.send(carried)
    node.mock_time += 24 * HOUR
    node.send(carried)
    node.mock_time += 1
    node.mine(plan=Plan(txids=()))
    assert not node.pool.entries
    node.send(carried)


def test_the_faucet_pays_from_ripe_coins_and_mines_what_is_missing(node: Node) -> None:
    height = node.chain.height
    node.pay(ALICE.script, DOGE)
    assert node.chain.height == height
    node.pay(ALICE.script, 4_000_000 * DOGE)
    assert node.chain.height > height
    node.mine()
    amounts = [coin.amount for _, coin in node.store.coins_of(ALICE.script)]
    assert sorted(amounts) == [DOGE, 4_000_000 * DOGE]


def test_the_faucet_pays_dust_at_its_price(node: Node) -> None:
    txid = node.pay(ALICE.script, 500_000)
    assert mined(node) == [txid]


def test_the_faucet_says_so_when_no_mining_helps(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.local.node.node._FAUCET_BLOCKS_MAX", 3)
    with pytest.raises(NoCoins):
        node.pay(ALICE.script, 10**9 * DOGE)


def test_two_blocks_are_never_equal(node: Node) -> None:
    node.mock_time = node.now()
    tip = node.chain.tip
    first = node.mine()
    node.invalidate(first)
    assert node.chain.tip == tip
    assert node.mine() != first


def test_replaced_ones_are_not_mined(node: Node) -> None:
    first = payment(node, DOGE, sequence=REPLACEABLE)
    node.send(first)
    spent = [(each.txid, each.vout) for each in first.body.inputs]
    total = sum(out.amount for out in first.body.outputs)
    second = node.send(spend(node.miner, spent, [(BOB.script, total - FEE)]))
    assert mined(node) == [second]
