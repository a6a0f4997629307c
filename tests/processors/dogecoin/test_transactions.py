"""Transactions are read and written byte for byte, and what is not one is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.dogecoin.transactions import (
    MONEY_MAX,
    SIGHASH_ALL,
    Input,
    Output,
    Transaction,
    TransactionUnreadable,
    compact_size,
    outputs_hash,
)
from tests.processors.dogecoin.golden import RAW, TXID

INPUTS = st.builds(
    Input,
    txid=st.binary(min_size=32, max_size=32).map(bytes.hex),
    vout=st.integers(0, 2**32 - 1),
    script_sig=st.binary(max_size=300),
    sequence=st.integers(0, 2**32 - 1),
)
OUTPUTS = st.builds(Output, amount=st.integers(0, MONEY_MAX), script=st.binary(max_size=300))
TRANSACTIONS = st.builds(
    Transaction,
    inputs=st.lists(INPUTS, min_size=1, max_size=5).map(tuple),
    outputs=st.lists(OUTPUTS, min_size=1, max_size=5).map(tuple),
    version=st.integers(-(2**31), 2**31 - 1),
    locktime=st.integers(0, 2**32 - 1),
)


def test_the_golden_transaction_is_read_and_written_byte_for_byte() -> None:
    transaction = Transaction.parse(RAW)
    assert transaction.serialize() == RAW
    assert transaction.txid == TXID
    assert [each.amount for each in transaction.outputs] == [500_000_000, 698_778_000]
    assert (transaction.version, transaction.locktime) == (1, 0)
    assert [each.sequence for each in transaction.inputs] == [0xFFFFFFFF, 0xFFFFFFFF]
    assert transaction.inputs[0].vout == 1


@given(transaction=TRANSACTIONS)
def test_what_is_written_is_read_again(transaction: Transaction) -> None:
    assert Transaction.parse(transaction.serialize()) == transaction


@given(transaction=TRANSACTIONS, data=st.data())
def test_a_part_of_a_transaction_is_none_and_neither_is_more_than_one(
    transaction: Transaction, data: st.DataObject
) -> None:
    raw = transaction.serialize()
    with pytest.raises(TransactionUnreadable):
        Transaction.parse(raw[: data.draw(st.integers(0, len(raw) - 1))])
    with pytest.raises(TransactionUnreadable, match="bytes follow it"):
        Transaction.parse(raw + b"\0")


@given(raw=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    try:
        transaction = Transaction.parse(raw)
    except TransactionUnreadable:
        return
    assert transaction.serialize() == raw


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b"", "it ends after 0 bytes"),
        (b"\1\0\0\0\0\0\0\0\0\0", "it spends nothing"),
        (RAW[:4] + b"\xfd\2\0" + RAW[5:], "more bytes than it needs"),
        (RAW[:4] + b"\xff" + b"\xff" * 8, "it ends after"),
        (bytes(1_000_001), "more than a block holds"),
        (
            b"\1\0\0\0\1" + bytes(36) + b"\0" + b"\xff" * 4 + b"\0" + bytes(4),
            "it pays nothing",
        ),
        (
            b"\1\0\0\0\1" + bytes(36) + b"\0" + b"\xff" * 4 + b"\1" + b"\xff" * 8 + bytes(5),
            "an output of -1 koinu cannot be",
        ),
    ],
)
def test_what_is_no_transaction_is_told(raw: bytes, told: str) -> None:
    with pytest.raises(TransactionUnreadable, match=told):
        Transaction.parse(raw)


@pytest.mark.parametrize("length", [0xFC, 0xFD, 0xFFFF, 0x1_0000])
def test_a_script_is_read_again_wherever_its_count_takes_more_bytes(length: int) -> None:
    transaction = Transaction((Input("00" * 32, 0),), (Output(1, bytes(length)),))
    assert Transaction.parse(transaction.serialize()) == transaction


#: All coins there can be, by Core's own word.
ALL_KOINU = 1_000_000_000_000_000_000


def paying(amount: int) -> bytes:
    return Transaction((Input("00" * 32, 0),), (Output(amount, b""),)).serialize()


def test_an_output_holds_at_most_what_core_allows() -> None:
    for amount in (0, ALL_KOINU):
        assert Transaction.parse(paying(amount)).outputs[0].amount == amount
    with pytest.raises(TransactionUnreadable, match="koinu cannot be"):
        Transaction.parse(paying(ALL_KOINU + 1))


@pytest.mark.parametrize(
    ("number", "written"),
    [
        (0, "00"),
        (0xFC, "fc"),
        (0xFD, "fdfd00"),
        (0xFFFF, "fdffff"),
        (0x1_0000, "fe00000100"),
        (0xFFFF_FFFF, "feffffffff"),
        (0x1_0000_0000, "ff0000000001000000"),
    ],
)
def test_a_count_takes_the_fewest_bytes(number: int, written: str) -> None:
    assert compact_size(number).hex() == written


def test_a_malleated_twin_has_another_txid_and_the_same_outputs() -> None:
    transaction = Transaction.parse(RAW)
    first, second = transaction.inputs
    twin = replace(
        transaction, inputs=(first._replace(script_sig=first.script_sig + b"\x61"), second)
    )
    assert twin.txid != transaction.txid
    assert twin.outputs_hash == transaction.outputs_hash == outputs_hash(transaction.outputs)
    assert replace(twin, outputs=twin.outputs[::-1]).outputs_hash != transaction.outputs_hash


def test_what_is_signed_does_not_depend_on_signatures_but_on_all_else() -> None:
    signed = Transaction.parse(RAW)
    blank = replace(signed, inputs=tuple(each._replace(script_sig=b"") for each in signed.inputs))
    script = signed.outputs[0].script
    digest = signed.sighash(1, script)
    assert digest == blank.sighash(1, script)
    first, second = signed.inputs
    assert len(digest) == 32
    others = [
        signed.sighash(0, script),
        signed.sighash(1, script + b"\0"),
        replace(signed, version=2).sighash(1, script),
        replace(signed, locktime=1).sighash(1, script),
        replace(signed, outputs=signed.outputs[:1]).sighash(1, script),
        replace(signed, inputs=(first._replace(sequence=1), second)).sighash(1, script),
        replace(signed, inputs=(first._replace(vout=2), second)).sighash(1, script),
    ]
    assert digest not in others
    assert len(set(others)) == len(others)


def test_each_input_gets_a_script_of_its_own() -> None:
    transaction = Transaction.parse(RAW)
    for scripts in ([b"one"], [b"one", b"two", b"three"]):
        with pytest.raises(ValueError, match="argument 2"):
            transaction.with_scripts(scripts)


def test_other_ways_to_hash_are_refused() -> None:
    transaction = Transaction.parse(RAW)
    with pytest.raises(ValueError, match="only SIGHASH_ALL"):
        transaction.sighash(0, b"", SIGHASH_ALL | 0x80)
    with pytest.raises(IndexError, match="no input 2 of 2"):
        transaction.sighash(2, b"")
