"""Transactions as Dogecoin serializes them: bytes, txid, and the digests that are signed.

There is no witness on Dogecoin, so the bytes with the signatures are what the txid names: a third
party that writes a signature differently changes it. ``outputs_hash`` stays the same then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from struct import Struct
from typing import Final, NamedTuple

from processors.dogecoin.hashes import double_sha256

#: Most koinu in one output (MAX_MONEY, src/amount.h).
MONEY_MAX: Final = 10_000_000_000 * 100_000_000
SIGHASH_ALL: Final = 1
#: Says that the transaction may be replaced by one with a higher fee (BIP 125).
SEQUENCE_REPLACEABLE: Final = 0xFFFFFFFD
SEQUENCE_FINAL: Final = 0xFFFFFFFF

#: What a block can hold; more is no transaction.
_BYTES_MAX: Final = 1_000_000
_INT32: Final = Struct("<i")
_UINT16: Final = Struct("<H")
_UINT32: Final = Struct("<I")
_INT64: Final = Struct("<q")
_UINT64: Final = Struct("<Q")


class TransactionUnreadable(ValueError):
    """Bytes that are not one whole transaction."""


class Input(NamedTuple):
    """The output that is spent, and the script that proves the right to."""

    #: As nodes write it: the digest's bytes in reverse, in hex.
    txid: str
    vout: int
    script_sig: bytes = b""
    sequence: int = SEQUENCE_FINAL


class Output(NamedTuple):
    """An amount in koinu, and the script that may spend it."""

    amount: int
    script: bytes


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction, signed or not."""

    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    version: int = 1
    locktime: int = 0

    @classmethod
    def parse(cls, raw: bytes) -> Transaction:
        """Read one transaction; raises ``TransactionUnreadable`` unless it is all of ``raw``."""
        if len(raw) > _BYTES_MAX:
            raise TransactionUnreadable(f"{len(raw)} bytes are more than a block holds")
        reader = _Reader(raw)
        version = reader.number(_INT32)
        inputs = tuple(reader.input() for _ in range(reader.count()))
        # Core reads "no inputs" as the mark of a witness, which Dogecoin's blocks never have.
        if not inputs:
            raise TransactionUnreadable("it spends nothing")
        outputs = tuple(reader.output() for _ in range(reader.count()))
        if not outputs:
            raise TransactionUnreadable("it pays nothing")
        locktime = reader.number(_UINT32)
        reader.end()
        return cls(inputs, outputs, version, locktime)

    def serialize(self) -> bytes:
        """The bytes that go over the wire and into the block."""
        return b"".join(
            (
                _INT32.pack(self.version),
                compact_size(len(self.inputs)),
                *(_input_bytes(each, each.script_sig) for each in self.inputs),
                _outputs_bytes(self.outputs),
                _UINT32.pack(self.locktime),
            )
        )

    def with_scripts(self, scripts: Sequence[bytes]) -> Transaction:
        """The same transaction with these scripts in its inputs, one each."""
        inputs = (
            each._replace(script_sig=script)
            for each, script in zip(self.inputs, scripts, strict=True)
        )
        return replace(self, inputs=tuple(inputs))

    @property
    def txid(self) -> str:
        """The name by which nodes know it."""
        return double_sha256(self.serialize())[::-1].hex()

    @property
    def outputs_hash(self) -> bytes:
        """SHA-256 of the serialized outputs, count included: what a malleated twin shares."""
        return outputs_hash(self.outputs)

    def sighash(self, index: int, script_code: bytes, hash_type: int = SIGHASH_ALL) -> bytes:
        """The digest that input ``index`` signs; ``script_code`` is the script that it spends.

        The rule is Core's SignatureHash for SIGHASH_ALL: every other input's script is empty. It
        does not commit to the amounts that are spent, so the signer must know them.
        """
        if hash_type != SIGHASH_ALL:
            raise ValueError(f"only SIGHASH_ALL is signed and checked, not {hash_type}")
        if not 0 <= index < len(self.inputs):
            raise IndexError(f"there is no input {index} of {len(self.inputs)}")
        return double_sha256(
            b"".join(
                (
                    _INT32.pack(self.version),
                    compact_size(len(self.inputs)),
                    *(
                        _input_bytes(each, script_code if place == index else b"")
                        for place, each in enumerate(self.inputs)
                    ),
                    _outputs_bytes(self.outputs),
                    _UINT32.pack(self.locktime),
                    _UINT32.pack(hash_type),
                )
            )
        )


def outputs_hash(outputs: Sequence[Output]) -> bytes:
    """SHA-256 of outputs as they are serialized, their count included."""
    return sha256(_outputs_bytes(outputs)).digest()


def compact_size(number: int) -> bytes:
    """A count before a list, in the fewest bytes, as Core's WriteCompactSize."""
    if number < 0xFD:
        return bytes((number,))
    if number <= 0xFFFF:
        return b"\xfd" + _UINT16.pack(number)
    if number <= 0xFFFF_FFFF:
        return b"\xfe" + _UINT32.pack(number)
    return b"\xff" + _UINT64.pack(number)


def _input_bytes(spent: Input, script: bytes) -> bytes:
    outpoint = bytes.fromhex(spent.txid)[::-1] + _UINT32.pack(spent.vout)
    return outpoint + compact_size(len(script)) + script + _UINT32.pack(spent.sequence)


def _outputs_bytes(outputs: Sequence[Output]) -> bytes:
    return compact_size(len(outputs)) + b"".join(
        _INT64.pack(each.amount) + compact_size(len(each.script)) + each.script for each in outputs
    )


class _Reader:
    """Takes one thing after the other from bytes, and never beyond them."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._at = 0

    def take(self, length: int) -> bytes:
        taken = self._raw[self._at : self._at + length]
        if len(taken) != length:
            raise TransactionUnreadable(f"it ends after {len(self._raw)} bytes")
        self._at += length
        return taken

    def number(self, form: Struct) -> int:
        value: int = form.unpack(self.take(form.size))[0]
        return value

    def count(self) -> int:
        first = self.take(1)[0]
        if first < 0xFD:
            return first
        form, least = {
            0xFD: (_UINT16, 0xFD),
            0xFE: (_UINT32, 0x1_0000),
            0xFF: (_UINT64, 0x1_0000_0000),
        }[first]
        number = self.number(form)
        if number < least:
            raise TransactionUnreadable("a count takes more bytes than it needs")
        return number

    def input(self) -> Input:
        txid = self.take(32)[::-1].hex()
        vout = self.number(_UINT32)
        return Input(txid, vout, self.take(self.count()), self.number(_UINT32))

    def output(self) -> Output:
        amount = self.number(_INT64)
        if not 0 <= amount <= MONEY_MAX:
            raise TransactionUnreadable(f"an output of {amount} koinu cannot be")
        return Output(amount, self.take(self.count()))

    def end(self) -> None:
        if self._at != len(self._raw):
            raise TransactionUnreadable(f"{len(self._raw) - self._at} bytes follow it")
