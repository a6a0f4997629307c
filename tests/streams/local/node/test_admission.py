"""Who is let into the mempool, rule by rule, and in which words the others are turned away."""

from __future__ import annotations

from dataclasses import replace

import pytest

from processors.dogecoin.transactions import Input, Output, Transaction
from streams.local.node.arguments import Arguments
from streams.local.node.blocks import Carried
from streams.local.node.calls_transactions import sendrawtransaction
from streams.local.node.errors import RpcError
from streams.local.node.malleation import malleated
from streams.local.node.node import Node
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


def refusal(node: Node, carried: Carried | str, *, allow_high_fees: bool | None = None) -> str:
    """What the call sendrawtransaction says, as "code text"; an accepted one fails the test."""
    text = carried if isinstance(carried, str) else carried.raw.hex()
    values = [text] if allow_high_fees is None else [text, allow_high_fees]
    with pytest.raises(RpcError) as caught:
        sendrawtransaction(node, Arguments(values))
    return f"{caught.value.code} {caught.value.message}"


def test_one_that_waits_already_is_welcome_again(node: Node) -> None:
    carried = payment(node, DOGE)
    assert node.send(carried) == node.send(carried) == carried.txid
    assert list(node.pool.entries) == [carried.txid]


def test_one_that_is_mined_is_told_so_while_something_of_it_is_unspent(node: Node) -> None:
    carried = payment(node, DOGE)
    node.send(carried)
    node.mine()
    assert refusal(node, carried) == "-27 transaction already in block chain"


def test_one_that_is_mined_and_spent_looks_like_a_failure(node: Node) -> None:
    """The trap of design 6: only who spent its inputs tells that it was mined."""
    outpoint, coin = purse(node)[0]
    carried = spend(node.miner, [outpoint], [(ALICE.script, coin.amount - FEE)])
    node.send(carried)
    node.mine()
    node.send(spend(ALICE, [(carried.txid, 0)], [(BOB.script, coin.amount - 2 * FEE)]))
    node.mine()
    assert refusal(node, carried) == "-25 Missing inputs"


def test_one_whose_inputs_nobody_knows_misses_them(node: Node) -> None:
    carried = spend(ALICE, [("ab" * 32, 0)], [(BOB.script, DOGE)])
    assert refusal(node, carried) == "-25 Missing inputs"


def test_an_output_that_is_spent_while_its_transaction_is_known_is_named_spent(node: Node) -> None:
    outpoint = paid(node, 5 * DOGE)
    node.send(spend(ALICE, [outpoint], [(BOB.script, 4 * DOGE)]))
    node.mine()
    again = spend(ALICE, [outpoint], [(ALICE.script, 4 * DOGE)])
    # The change of the transaction that paid Alice is unspent, so it is known.
    assert refusal(node, again) == "-26 18: bad-txns-inputs-spent"


def test_an_output_that_never_was_is_named_spent_too(node: Node) -> None:
    txid, _ = paid(node, 5 * DOGE)
    assert refusal(node, spend(ALICE, [(txid, 7)], [(BOB.script, DOGE)])).startswith("-26 18:")


def test_a_conflict_with_one_that_may_not_be_replaced_is_refused(node: Node) -> None:
    first = payment(node, DOGE)
    second = payment(node, 2 * DOGE, fee=5 * FEE)
    node.send(first)
    assert refusal(node, second) == "-26 258: txn-mempool-conflict"


def test_a_fee_below_what_is_relayed_is_refused_to_the_koinu(node: Node) -> None:
    assert refusal(node, payment_off_by(node, -1)) == "-26 66: insufficient priority"
    node.send(payment_off_by(node, 0))


def payment_off_by(node: Node, off: int) -> Carried:
    """A payment whose fee is so many koinu above the least for its own size."""
    # A signature is a byte shorter now and then: take the first payment of the usual size.
    for more in range(100):
        carried = payment(node, DOGE + more, fee=226 * 100 + off)
        if len(carried.raw) == 226:
            return carried
    raise AssertionError("signatures have other sizes than was thought")


def test_more_paid_than_spent_is_refused(node: Node) -> None:
    assert refusal(node, payment(node, DOGE, fee=-DOGE)) == "-26 66: insufficient priority"


@pytest.mark.parametrize("amount", [0, 1, 99_999])
def test_hard_dust_is_refused_even_by_the_own_node(node: Node, amount: int) -> None:
    assert refusal(node, payment(node, amount)) == "-26 64: dust"


def test_soft_dust_is_taken_by_the_own_node(node: Node) -> None:
    """What its peers would do is in test_mining."""
    node.send(payment(node, 100_000, fee=FEE // 4))


def test_data_may_be_carried_once_and_need_not_be_worth_anything(node: Node) -> None:
    outpoint, coin = purse(node)[0]
    data = b"\x6a\x04data"
    outputs = [(data, 0), (ALICE.script, coin.amount - FEE)]
    assert refusal(node, spend(node.miner, [outpoint], [(data, 0), *outputs])) == (
        "-26 64: multi-op-return"
    )
    node.send(spend(node.miner, [outpoint], outputs))


def test_an_unusual_script_is_refused(node: Node) -> None:
    outpoint, coin = purse(node)[0]
    carried = spend(node.miner, [outpoint], [(b"\x51", coin.amount - FEE)])
    assert refusal(node, carried) == "-26 64: scriptpubkey"


def test_an_unusual_version_is_refused(node: Node) -> None:
    outpoint, coin = purse(node)[0]
    carried = spend(node.miner, [outpoint], [(ALICE.script, coin.amount - FEE)], version=3)
    assert refusal(node, carried) == "-26 64: version"


def test_one_of_a_hundred_thousand_bytes_is_refused(node: Node) -> None:
    outpoint, coin = purse(node)[0]
    outputs = [(ALICE.script, DOGE)] * 2_950
    rest = coin.amount - 2_950 * DOGE - 10 * DOGE
    carried = spend(node.miner, [outpoint], [*outputs, (node.miner.script, rest)])
    assert len(carried.raw) >= 100_000
    assert refusal(node, carried) == "-26 64: tx-size"


def test_a_fee_above_a_hundred_doge_needs_an_explicit_word(node: Node) -> None:
    carried = payment(node, DOGE, fee=101 * DOGE)
    assert refusal(node, carried) == "-26 256: absurdly-high-fee"
    assert refusal(node, carried, allow_high_fees=False) == "-26 256: absurdly-high-fee"
    assert sendrawtransaction(node, Arguments([carried.raw.hex(), True])) == carried.txid


def test_a_wrong_signature_is_refused(node: Node) -> None:
    outpoint, coin = purse(node)[0]
    right = spend(node.miner, [outpoint], [(ALICE.script, coin.amount - FEE)])
    changed = replace(right.body, outputs=(Output(coin.amount - FEE - 1, BOB.script),))
    assert refusal(node, Carried.of(changed)) == (
        "-26 16: mandatory-script-verify-flag-failed "
        "(Signature must be zero for failed CHECK(MULTI)SIG operation)"
    )


def test_another_ones_key_is_refused(node: Node) -> None:
    outpoint, coin = purse(node)[0]
    carried = spend(ALICE, [outpoint], [(ALICE.script, coin.amount - FEE)])
    assert refusal(node, carried) == (
        "-26 16: mandatory-script-verify-flag-failed (Script failed an OP_EQUALVERIFY operation)"
    )


def test_a_signature_with_a_high_s_is_valid_and_still_refused(node: Node) -> None:
    carried = malleated(payment(node, DOGE))
    assert refusal(node, carried) == (
        "-26 64: non-mandatory-script-verify-flag "
        "(Non-canonical signature: S value is unnecessarily high)"
    )


def test_an_unsigned_one_is_refused(node: Node) -> None:
    right = payment(node, DOGE)
    bare = Carried.of(
        replace(
            right.body, inputs=tuple(each._replace(script_sig=b"") for each in right.body.inputs)
        )
    )
    assert refusal(node, bare) == (
        "-26 16: mandatory-script-verify-flag-failed "
        "(Operation not valid with the current stack size)"
    )


def test_a_coinbase_is_not_sent_around(node: Node) -> None:
    body = Transaction((Input("00" * 32, 0xFFFFFFFF, b"\x01\x01"),), (Output(DOGE, ALICE.script),))
    assert refusal(node, Carried.of(body)) == "-26 16: coinbase"


def test_new_coins_must_be_sixty_blocks_old(node: Node) -> None:
    ripe = node.chain.height + 1 - node.rules.maturity
    coins = {
        coin.height: (outpoint, coin) for outpoint, coin in node.store.coins_of(node.miner.script)
    }
    outpoint, coin = coins[ripe + 1]
    carried = spend(node.miner, [outpoint], [(ALICE.script, coin.amount - FEE)])
    assert refusal(node, carried) == "-26 16: bad-txns-premature-spend-of-coinbase"
    node.mine()
    node.send(carried)


def test_the_same_input_twice_is_refused(node: Node) -> None:
    outpoint, coin = purse(node)[0]
    carried = spend(node.miner, [outpoint, outpoint], [(ALICE.script, coin.amount)])
    assert refusal(node, carried) == "-26 16: bad-txns-inputs-duplicate"


def test_one_that_is_locked_into_the_future_is_refused(node: Node) -> None:
    outpoint, coin = purse(node)[0]
    outputs = [(ALICE.script, coin.amount - FEE)]
    late = node.chain.height + 1
    carried = spend(node.miner, [outpoint], outputs, sequence=REPLACEABLE, locktime=late)
    assert refusal(node, carried) == "-26 64: non-final"
    node.mine()
    node.send(carried)


@pytest.mark.parametrize("text", ["", "zz", "00", "0100", "beef" * 20])
def test_what_is_no_transaction_cannot_be_decoded(node: Node, text: str) -> None:
    assert refusal(node, text) == "-22 TX decode failed"


def test_more_bytes_than_one_transaction_cannot_be_decoded(node: Node) -> None:
    assert refusal(node, payment(node, DOGE).raw.hex() + "00") == "-22 TX decode failed"


def line_of(node: Node, length: int) -> list[Carried]:
    """So many unconfirmed transactions, each spending the one before; sent."""
    outpoint = paid(node, 100 * DOGE)
    made = []
    for step in range(length):
        carried = spend(ALICE, [outpoint], [(ALICE.script, 100 * DOGE - (step + 1) * FEE)])
        node.send(carried)
        made.append(carried)
        outpoint = (carried.txid, 0)
    return made


def test_a_line_of_unconfirmed_ones_ends_at_twenty_five(node: Node) -> None:
    line = line_of(node, 25)
    next_one = spend(ALICE, [(line[-1].txid, 0)], [(ALICE.script, 90 * DOGE)])
    assert refusal(node, next_one) == "-26 64: too-long-mempool-chain"
    node.mine()
    node.send(next_one)


def test_a_parent_has_at_most_twenty_four_children(node: Node) -> None:
    outpoint = paid(node, 100 * DOGE)
    parent = spend(ALICE, [outpoint], [(ALICE.script, 3 * DOGE)] * 30)
    node.send(parent)
    for vout in range(24):
        node.send(spend(ALICE, [(parent.txid, vout)], [(BOB.script, 2 * DOGE)]))
    last = spend(ALICE, [(parent.txid, 24)], [(BOB.script, 2 * DOGE)])
    assert refusal(node, last) == "-26 64: too-long-mempool-chain"
