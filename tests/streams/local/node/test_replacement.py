"""Replacement by BIP 125: who may take whose place in the mempool."""

from __future__ import annotations

import pytest

from streams.local.node.admission import Refused
from streams.local.node.blocks import Carried
from streams.local.node.node import Node
from streams.local.node.store import Outpoint
from tests.streams.local.node.play import ALICE, BOB, DOGE, FEE, REPLACEABLE, paid, payment, spend


def offer(spent: list[Outpoint], fee: int, *, worth: int, sequence: int = REPLACEABLE) -> Carried:
    """Alice pays all of it to Bob, less the fee."""
    return spend(ALICE, spent, [(BOB.script, worth - fee)], sequence=sequence)


def test_a_better_one_takes_the_place_of_one_that_allows_it(node: Node) -> None:
    outpoint = paid(node, 10 * DOGE)
    first = offer([outpoint], FEE, worth=10 * DOGE)
    second = offer([outpoint], 2 * FEE, worth=10 * DOGE)
    node.send(first)
    node.send(second)
    assert list(node.pool.entries) == [second.txid]


def test_who_hangs_on_the_replaced_one_goes_with_it(node: Node) -> None:
    outpoint = paid(node, 10 * DOGE)
    first = offer([outpoint], FEE, worth=10 * DOGE)
    node.send(first)
    node.send(spend(BOB, [(first.txid, 0)], [(BOB.script, 9 * DOGE)]))
    # The child's fee of almost a DOGE must be beaten as well.
    with pytest.raises(Refused, match="66: insufficient fee"):
        node.send(offer([outpoint], 2 * FEE, worth=10 * DOGE))
    second = offer([outpoint], 2 * DOGE, worth=10 * DOGE)
    node.send(second)
    assert list(node.pool.entries) == [second.txid]


def test_the_replacement_pays_for_its_own_bytes_to_the_koinu(node: Node) -> None:
    outpoint = paid(node, 10 * DOGE)
    first = offer([outpoint], FEE, worth=10 * DOGE)
    node.send(first)
    least = len(first.raw) * 10_000 // 1_000
    with pytest.raises(Refused, match="66: insufficient fee"):
        node.send(offer([outpoint], FEE + least - 20, worth=10 * DOGE))
    node.send(offer([outpoint], FEE + least + 20, worth=10 * DOGE))


def test_a_lower_rate_does_not_replace_even_with_a_higher_fee(node: Node) -> None:
    small = paid(node, 10 * DOGE)
    others = [paid(node, 10 * DOGE) for _ in range(9)]
    node.send(offer([small], 3 * FEE, worth=10 * DOGE))
    with pytest.raises(Refused, match="66: insufficient fee"):
        node.send(offer([small, *others], 6 * FEE, worth=100 * DOGE))


def test_one_that_does_not_allow_it_stays(node: Node) -> None:
    outpoint = paid(node, 10 * DOGE)
    node.send(offer([outpoint], FEE, worth=10 * DOGE, sequence=0xFFFFFFFE))
    with pytest.raises(Refused, match="258: txn-mempool-conflict"):
        node.send(offer([outpoint], DOGE, worth=10 * DOGE))


def test_a_replacement_brings_no_unconfirmed_input_of_its_own(node: Node) -> None:
    outpoint = paid(node, 10 * DOGE)
    node.send(offer([outpoint], FEE, worth=10 * DOGE))
    other = payment(node, 5 * DOGE, to=ALICE)
    node.send(other)
    with pytest.raises(Refused, match="64: replacement-adds-unconfirmed"):
        node.send(offer([outpoint, (other.txid, 0)], 5 * DOGE, worth=15 * DOGE))


def test_a_replacement_cannot_spend_what_it_replaces(node: Node) -> None:
    outpoint = paid(node, 10 * DOGE)
    first = spend(ALICE, [outpoint], [(ALICE.script, 9 * DOGE)], sequence=REPLACEABLE)
    node.send(first)
    with pytest.raises(Refused, match="16: bad-txns-spends-conflicting-tx"):
        node.send(spend(ALICE, [outpoint, (first.txid, 0)], [(BOB.script, 10 * DOGE)]))


def test_more_than_a_hundred_are_not_replaced(node: Node) -> None:
    outpoints = [paid(node, 100 * DOGE) for _ in range(5)]
    for outpoint in outpoints:
        parent = spend(ALICE, [outpoint], [(BOB.script, 3 * DOGE)] * 22, sequence=REPLACEABLE)
        node.send(parent)
        for vout in range(21):
            node.send(spend(BOB, [(parent.txid, vout)], [(BOB.script, 2 * DOGE)]))
    with pytest.raises(Refused, match="64: too many potential replacements"):
        node.send(offer(outpoints, 99 * DOGE, worth=500 * DOGE))
    assert len(node.pool.entries) == 5 * 22
