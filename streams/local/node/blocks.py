"""Blocks as bytes: header, merkle root, coinbase, and the genesis block that Core has, too."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from processors.dogecoin.hashes import double_sha256
from processors.dogecoin.transactions import Input, Output, Transaction, compact_size
from streams.local.node.rules import Rules

ZERO_HASH: Final = "00" * 32
NO_VOUT: Final = 0xFFFFFFFF
HEADER_BYTES: Final = 80
#: BIP 34, 65 and 66 are in force; the chain's id of merged mining stands above.
BLOCK_VERSION: Final = 0x620004

_HEADER: Final = struct.Struct("<i32s32sIII")
_GENESIS_VERSION: Final = 1
_GENESIS_AMOUNT: Final = 88 * 100_000_000
_GENESIS_SCRIPT_SIG: Final = bytes.fromhex("04ffff001d0104084e696e746f6e646f")
_GENESIS_SCRIPT: Final = bytes.fromhex(
    "41040184710fa689ad5023690c80f3a49c8f13f8d45b8c857fbcbc8bc4a8e4d3eb"
    "4b10f4d4604fa08dce601aaf0f470216fe1b51850b4acf21b179c45070ac7b03a9ac"
)


class BlockUnreadable(ValueError):
    """Bytes that are not one whole block."""


class Carried:
    """A transaction with its bytes and its name, each worked out once."""

    def __init__(self, raw: bytes, body: Transaction | None = None) -> None:
        self.raw = raw
        self._body = body

    @classmethod
    def of(cls, body: Transaction) -> Carried:
        """From a transaction that was put together here."""
        return cls(body.serialize(), body)

    @property
    def body(self) -> Transaction:
        """The transaction; raises ``TransactionUnreadable``."""
        if self._body is None:
            self._body = Transaction.parse(self.raw)
        return self._body

    @cached_property
    def txid(self) -> str:
        """As nodes write it."""
        return double_sha256(self.raw)[::-1].hex()

    @property
    def is_coinbase(self) -> bool:
        """Whether it creates coins."""
        first = self.body.inputs[0]
        return len(self.body.inputs) == 1 and first.txid == ZERO_HASH and first.vout == NO_VOUT


@dataclass(frozen=True)
class Header:
    """The 80 bytes that a block is named by."""

    version: int
    previous: str
    merkle_root: str
    time: int
    bits: int
    nonce: int

    @classmethod
    def parse(cls, raw: bytes) -> Header:
        """From 80 bytes."""
        version, previous, root, time, bits, nonce = _HEADER.unpack(raw)
        return cls(version, previous[::-1].hex(), root[::-1].hex(), time, bits, nonce)

    def serialize(self) -> bytes:
        """To 80 bytes."""
        previous, root = bytes.fromhex(self.previous)[::-1], bytes.fromhex(self.merkle_root)[::-1]
        return _HEADER.pack(self.version, previous, root, self.time, self.bits, self.nonce)

    @cached_property
    def hash(self) -> str:
        """The block's name."""
        return double_sha256(self.serialize())[::-1].hex()


@dataclass(frozen=True)
class Block:
    """A header, and transactions of which the first is the coinbase."""

    header: Header
    transactions: tuple[Carried, ...]

    @classmethod
    def parse(cls, raw: bytes) -> Block:
        """Read one block; raises ``BlockUnreadable`` unless it is all of ``raw``."""
        try:
            header = Header.parse(raw[:HEADER_BYTES])
            count, at = _count(raw, HEADER_BYTES)
            transactions = []
            for _ in range(count):
                end = _end_of_transaction(raw, at)
                transactions.append(Carried(raw[at:end]))
                at = end
            bodies = [each.body for each in transactions]
        except (IndexError, ValueError, struct.error) as error:
            raise BlockUnreadable(str(error)) from None
        if at != len(raw) or not bodies:
            raise BlockUnreadable("it is not one whole block")
        return cls(header, tuple(transactions))

    def serialize(self) -> bytes:
        """The whole block's bytes."""
        return b"".join(
            (
                self.header.serialize(),
                compact_size(len(self.transactions)),
                *(each.raw for each in self.transactions),
            )
        )

    @property
    def hash(self) -> str:
        """The block's name."""
        return self.header.hash

    def root(self) -> str:
        """The merkle root that the header must name."""
        return merkle_root([each.txid for each in self.transactions])


def merkle_root(txids: Sequence[str]) -> str:
    """The root over txids in their order; an odd one out is paired with itself."""
    row = [bytes.fromhex(txid)[::-1] for txid in txids]
    while len(row) > 1:
        if len(row) % 2:
            row.append(row[-1])
        row = [double_sha256(row[i] + row[i + 1]) for i in range(0, len(row), 2)]
    return row[0][::-1].hex()


def coinbase(height: int, extra: int, outputs: Sequence[Output]) -> Carried:
    """The transaction that creates coins: its script starts with the height (BIP 34)."""
    script_sig = push_number(height) + push_number(extra)
    spent = Input(ZERO_HASH, NO_VOUT, script_sig.ljust(2, b"\0"))
    return Carried.of(Transaction((spent,), tuple(outputs)))


def push_number(number: int) -> bytes:
    """A script that pushes a number not below zero, as CScript << CScriptNum."""
    if number == 0:
        return b"\x00"
    if number <= 16:
        return bytes((0x50 + number,))
    # One bit more than it takes: the highest is the sign.
    data = number.to_bytes(number.bit_length() // 8 + 1, "little")
    return bytes((len(data),)) + data


def genesis(rules: Rules) -> Block:
    """Core's own first block of the network; nobody can spend what it creates."""
    spent = Input(ZERO_HASH, NO_VOUT, _GENESIS_SCRIPT_SIG)
    first = Carried.of(Transaction((spent,), (Output(_GENESIS_AMOUNT, _GENESIS_SCRIPT),)))
    header = Header(
        _GENESIS_VERSION,
        ZERO_HASH,
        first.txid,
        rules.genesis_time,
        rules.genesis_bits,
        rules.genesis_nonce,
    )
    return Block(header, (first,))


def _count(raw: bytes, at: int) -> tuple[int, int]:
    first = raw[at]
    width = {0xFD: 2, 0xFE: 4, 0xFF: 8}.get(first, 0)
    if not width:
        return first, at + 1
    return int.from_bytes(raw[at + 1 : at + 1 + width], "little"), at + 1 + width


def _end_of_transaction(raw: bytes, at: int) -> int:
    """Where the transaction that starts at ``at`` ends; nothing is read but lengths."""
    inputs, at = _count(raw, at + 4)
    for _ in range(inputs):
        length, at = _count(raw, at + 36)
        at += length + 4
    outputs, at = _count(raw, at)
    for _ in range(outputs):
        length, at = _count(raw, at + 8)
        at += length
    return at + 4
