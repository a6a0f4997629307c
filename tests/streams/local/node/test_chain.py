"""Blocks: what makes one, which branch is followed, and what an undone one leaves behind."""

from __future__ import annotations

from dataclasses import replace

import pytest

from processors.dogecoin.networks import CHAINS
from processors.dogecoin.transactions import Output
from streams.local.node.blocks import (
    Block,
    BlockUnreadable,
    Carried,
    coinbase,
    genesis,
    merkle_root,
    push_number,
)
from streams.local.node.chain import BadBlock
from streams.local.node.mining import Plan, put_together
from streams.local.node.node import Node, UnknownBlock
from streams.local.node.rules import rules_of
from tests.streams.local.node.play import (
    ALICE,
    BOB,
    DOGE,
    FEE,
    RULES,
    paid,
    payment,
    purse,
    rich_node,
    spend,
)


def block_on(
    node: Node,
    *carried: Carried,
    reward: int | None = None,
    previous: str | None = None,
    time: int | None = None,
    height: int | None = None,
    extra: int = 99,
) -> Block:
    """A block from elsewhere, for the next height unless something else is said."""
    at = node.chain.height + 1
    return put_together(
        previous=previous or node.chain.tip,
        height=at if height is None else height,
        time=time or node.chain.median_time(at - 1) + 100,
        extra=extra,
        reward=Output(RULES.subsidy(at) if reward is None else reward, ALICE.script),
        carried=carried,
        rules=RULES,
    )


def refusal(node: Node, block: Block) -> str:
    """Why a block is not taken; one that is taken fails the test."""
    before = (node.chain.tip, list(node.pool.entries))
    with pytest.raises(BadBlock) as caught:
        node.submit(block)
    assert (node.chain.tip, list(node.pool.entries)) == before
    return str(caught.value)


@pytest.mark.parametrize("network", ["regtest", "testnet"])
def test_the_first_block_is_cores_own(network: str) -> None:
    assert genesis(rules_of(network)).hash == CHAINS[network].genesis_hash


def test_blocks_survive_their_own_bytes(node: Node) -> None:
    node.send(payment(node, DOGE))
    block = node.store.block(node.mine())
    raw = block.serialize()
    assert Block.parse(raw).serialize() == raw
    assert Block.parse(raw).hash == block.hash == node.chain.tip
    for wrong in (raw[:-1], raw + b"\0", raw[:81], b""):
        with pytest.raises(BlockUnreadable):
            Block.parse(wrong)


def test_an_odd_transaction_is_paired_with_itself() -> None:
    """Block 100,000 of Bitcoin, and the same without its last transaction."""
    txids = [
        "8c14f0db3df150123e6f3dbbf30f8b955a8249b62ac1d1ff16284aefa3d06d87",
        "fff2525b8931402dd09222c50775608f75787bd2b87e56995a7bdd30f79702c4",
        "6359f0868171b1d194cbee1af2f16ea598ae8fad666d9b012c8ed2b79a236ec4",
        "e9a66845e05d5abc0ad04ec80f774a7e585c6e8db975962d069a522137b80c1d",
    ]
    assert merkle_root(txids) == "f3e94742aca4b5ef85488dc37c06c3282295ffec960994b2c0d5ac2a25a95766"
    assert merkle_root(txids[:3]) == merkle_root([*txids[:3], txids[2]])


@pytest.mark.parametrize(
    ("number", "pushed"),
    [
        *((0, "00"), (1, "51"), (16, "60"), (17, "0111"), (127, "017f"), (128, "028000")),
        *((255, "02ff00"), (256, "020001"), (32_768, "03008000")),
    ],
)
def test_heights_are_pushed_as_core_pushes_them(number: int, pushed: str) -> None:
    assert push_number(number).hex() == pushed


@pytest.mark.parametrize(
    ("height", "doge"),
    [
        *((1, 500_000), (149, 500_000), (150, 250_000), (300, 125_000), (750, 15_625)),
        *((899, 15_625), (900, 10_000), (10_000, 10_000)),
    ],
)
def test_rewards_halve_and_then_stay(height: int, doge: int) -> None:
    assert RULES.subsidy(height) == doge * DOGE


def test_coins_are_made_by_rewards_alone(node: Node) -> None:
    for _ in range(3):
        node.send(payment(node, DOGE))
        node.mine()
    made = sum(RULES.subsidy(height) for height in range(1, node.chain.height + 1))
    held = sum(
        coin.amount
        for owner in (node.miner, ALICE)
        for _, coin in node.store.coins_of(owner.script)
    )
    assert held == made


def test_a_block_from_elsewhere_is_followed(node: Node) -> None:
    node.send(payment(node, DOGE))
    waiting = next(iter(node.pool.entries.values()))
    block = block_on(node, waiting.carried)
    node.submit(block)
    assert node.chain.tip == block.hash
    assert not node.pool.entries


def test_wrong_blocks_are_refused_for_their_reason(node: Node) -> None:
    right = block_on(node)
    node.submit(right)
    assert refusal(node, right) == "duplicate"
    assert refusal(node, block_on(node, previous="ab" * 32)) == "prev-blk-not-found"
    assert refusal(node, block_on(node, height=3)) == "bad-cb-height"
    assert refusal(node, block_on(node, time=1_000)) == "the block is not valid"
    wrong_root = replace(block_on(node).header, merkle_root="ab" * 32)
    assert refusal(node, replace(block_on(node), header=wrong_root)) == "bad-txnmrklroot"
    two = coinbase(node.chain.height + 1, 5, [Output(DOGE, ALICE.script)])
    assert refusal(node, block_on(node, two)) == "bad-cb-multiple"


def test_blocks_that_break_the_rules_of_coins_are_left_aside(node: Node) -> None:
    outpoint, coin = purse(node)[0]
    pay = spend(node.miner, [outpoint], [(ALICE.script, coin.amount - FEE)])
    twice = spend(node.miner, [outpoint], [(BOB.script, coin.amount - FEE)])
    stolen = spend(ALICE, [outpoint], [(ALICE.script, coin.amount - FEE)])
    too_much = spend(node.miner, [outpoint], [(ALICE.script, coin.amount + 1)])
    young = node.store.coins_of(node.miner.script)[-1][0]
    early = spend(node.miner, [young], [(ALICE.script, DOGE)])
    greedy = RULES.subsidy(node.chain.height + 1) + FEE + 1
    bad = [
        block_on(node, pay, twice),
        block_on(node, stolen),
        block_on(node, too_much),
        block_on(node, early),
        block_on(node, pay, reward=greedy),
        block_on(node, spend(ALICE, [("ab" * 32, 0)], [(ALICE.script, DOGE)])),
    ]
    for block in bad:
        assert refusal(node, block) == "the block is not valid"
    node.submit(block_on(node, pay, reward=greedy - 1))


def test_a_child_may_stand_in_the_block_of_its_parent_but_not_before_it(node: Node) -> None:
    outpoint, coin = purse(node)[0]
    parent = spend(node.miner, [outpoint], [(ALICE.script, coin.amount - FEE)])
    child = spend(ALICE, [(parent.txid, 0)], [(BOB.script, coin.amount - 2 * FEE)])
    assert refusal(node, block_on(node, child, parent)) == "the block is not valid"
    node.submit(block_on(node, parent, child))
    assert [coin.amount for _, coin in node.store.coins_of(BOB.script)] == [coin.amount - 2 * FEE]
    node.invalidate(node.chain.tip)
    assert not node.store.coins_of(BOB.script)
    assert node.store.coin(outpoint) == coin
    assert list(node.pool.entries) == [parent.txid, child.txid]


def test_of_two_equal_branches_the_first_that_came_is_followed(node: Node) -> None:
    fork = node.chain.tip
    first = node.mine()
    other = block_on(node, previous=fork, height=node.chain.height, extra=1)
    node.submit(other)
    assert node.chain.tip == first
    longer = block_on(node, previous=other.hash, extra=2)
    node.submit(longer)
    assert node.chain.tip == longer.hash


def test_an_invalidated_block_goes_with_all_that_follow_it_and_comes_back(node: Node) -> None:
    carried = payment(node, DOGE)
    node.send(carried)
    first = node.mine()
    tip = node.mine()
    node.invalidate(first)
    assert list(node.pool.entries) == [carried.txid]
    other = node.mine(plan=Plan(txids=()))
    assert node.chain.tip == other
    node.reconsider(tip)
    assert node.chain.tip == tip
    assert not node.pool.entries
    with pytest.raises(UnknownBlock):
        node.invalidate("ab" * 32)


def test_a_branch_lets_its_transactions_wait_again_or_mines_them_anew(node: Node) -> None:
    carried = payment(node, DOGE)
    node.send(carried)
    node.mine()
    node.mine()
    height = node.chain.height
    node.reorganise(2, [Plan(txids=()), Plan(txids=()), Plan(txids=())])
    assert node.chain.height == height + 1
    assert list(node.pool.entries) == [carried.txid]
    node.reorganise(3, [Plan(), Plan(), Plan(), Plan()])
    assert not node.pool.entries
    assert node.store.coins_of(ALICE.script)


def test_a_branch_that_is_not_longer_is_remembered_and_not_followed(node: Node) -> None:
    carried = payment(node, DOGE)
    node.send(carried)
    tip = node.mine()
    made = node.reorganise(1, [Plan(txids=())])
    assert node.chain.tip == tip
    assert set(node.store.leaves()) == {tip, *made}
    assert not node.pool.entries
    assert node.store.coins_of(ALICE.script)


def test_a_dropped_transaction_is_forgotten_with_what_hangs_on_it(node: Node) -> None:
    outpoint, coin = purse(node)[0]
    parent = spend(node.miner, [outpoint], [(ALICE.script, coin.amount - FEE)])
    child = spend(ALICE, [(parent.txid, 0)], [(BOB.script, coin.amount - 2 * FEE)])
    node.send(parent)
    node.send(child)
    node.mine()
    node.reorganise(1, [Plan(), Plan()], drop=[parent.txid])
    assert not node.pool.entries
    assert not node.store.coins_of(BOB.script)
    node.send(parent)
    node.send(child)


def test_a_double_spend_on_a_branch_ends_the_first_payment_for_good(node: Node) -> None:
    outpoint, coin = purse(node)[0]
    first = spend(node.miner, [outpoint], [(ALICE.script, coin.amount - FEE)])
    child = spend(ALICE, [(first.txid, 0)], [(ALICE.script, coin.amount - 2 * FEE)])
    second = spend(node.miner, [outpoint], [(BOB.script, coin.amount - FEE)])
    node.send(first)
    node.mine()
    node.send(child)
    node.reorganise(1, [Plan(strangers=[second]), Plan()])
    assert not node.pool.entries
    assert not node.store.coins_of(ALICE.script)
    assert [outpoint for outpoint, _ in node.store.coins_of(BOB.script)] == [(second.txid, 0)]


def test_a_malleated_payment_is_mined_and_its_twin_and_children_are_gone(node: Node) -> None:
    outpoint = paid(node, 10 * DOGE)
    first = spend(ALICE, [outpoint], [(ALICE.script, 9 * DOGE)])
    child = spend(ALICE, [(first.txid, 0)], [(BOB.script, 8 * DOGE)])
    node.send(first)
    node.send(child)
    block = node.store.block(node.mine(plan=Plan(malleate=[first.txid])))
    twin = block.transactions[1]
    assert twin.txid != first.txid
    assert twin.body.outputs == first.body.outputs
    assert not node.pool.entries
    # Undone, it does not wait again: no node passes on a high S.
    node.invalidate(block.hash)
    assert not node.pool.entries
    node.send(first)


def test_spends_of_rewards_that_were_undone_are_dropped() -> None:
    node = rich_node(coins=0)
    node.mine()
    young = max(purse(node), key=lambda each: each[1].height)[0]
    carried = spend(node.miner, [young], [(ALICE.script, DOGE)])
    node.send(carried, allow_high_fees=True)
    node.invalidate(node.chain.tip)
    assert not node.pool.entries, "it is a block too young now"
    node.close()


def test_a_branch_below_the_first_block_is_no_branch(node: Node) -> None:
    with pytest.raises(BadBlock):
        node.reorganise(node.chain.height + 1, [Plan()])


def test_a_deep_branch_gives_back_every_coin() -> None:
    # Enough of them, so that no payment spends a reward that is too young afterwards.
    node = rich_node(coins=40)
    before = sorted(node.store.coins_of(node.miner.script))
    height = node.chain.height
    for step in range(30):
        node.send(payment(node, (step + 1) * DOGE))
        node.mine()
    lowest = node.store.hash_at(height + 1)
    assert lowest is not None
    node.invalidate(lowest)
    assert node.chain.height == height
    assert sorted(node.store.coins_of(node.miner.script)) == before
    assert len(node.pool.entries) == 30
    node.reconsider(lowest)
    assert not node.pool.entries
    node.close()
