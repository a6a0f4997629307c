"""What Dogecoin Core 1.14 answers, as far as it is read; everything else in it is passed over.

Amounts stay the text that the node wrote until somebody needs the number: a block has thousands of
outputs, of which few are ours, and no float is made of any.
"""

from __future__ import annotations

import re
from decimal import Decimal, DecimalException
from struct import Struct
from struct import error as StructError  # noqa: N812 - an exception is named as one
from typing import Annotated, Final, Generic, TypeVar

import msgspec
from msgspec import Meta

from processors.dogecoin.hashes import double_sha256
from processors.dogecoin.transactions import (
    MONEY_MAX,
    SEQUENCE_FINAL,
    Input,
    Output,
    Transaction,
)
from schemas.amounts import DECIMALS

#: 32 bytes in hex; what is compared with nothing is checked letter by letter where it is stored.
Hash = Annotated[str, Meta(min_length=64, max_length=64)]
Count = Annotated[int, Meta(ge=0)]

_PLAIN: Final = re.compile(r"[0-9]{1,11}(\.[0-9]{1,8})?", re.ASCII)
_HEADER: Final = Struct("<I32s32sIII")


class AmountUnreadable(ValueError):
    """A node's amount is no number of whole koinu that one output can hold."""


class TransactionUnproven(ValueError):
    """A node tells of a transaction what its txid does not bear out."""


def koinu_of(text: str) -> int:
    """DOGE as a JSON number's own text to koinu, exactly; raises ``AmountUnreadable``.

    Core writes eight decimals (ValueFromAmount, src/rpc/server.cpp); others may write exponents.
    """
    if _PLAIN.fullmatch(text):
        whole, _, fraction = text.partition(".")
        koinu = int(whole + fraction.ljust(DECIMALS, "0"))
    else:
        try:
            scaled = Decimal(text).scaleb(DECIMALS)
        except DecimalException:
            raise AmountUnreadable(f"{text[:40]!r} is no amount") from None
        if not scaled.is_finite() or scaled != scaled.to_integral_value():
            raise AmountUnreadable(f"{text[:40]} DOGE is no number of whole koinu")
        koinu = int(scaled)
    if not 0 <= koinu <= MONEY_MAX:
        raise AmountUnreadable(f"{text[:40]} DOGE cannot be one output's")
    return koinu


class _Shape(msgspec.Struct, frozen=True, gc=False):
    """Read once and never changed; the collector need not walk thousands of them."""


class ScriptShape(_Shape, frozen=True, gc=False):
    """An output's script."""

    hex: str


class OutputShape(_Shape, frozen=True, gc=False, rename={"script": "scriptPubKey"}):
    """An output; ``value`` is the number as it was written."""

    value: msgspec.Raw
    script: ScriptShape

    @property
    def amount(self) -> int:
        """In koinu; raises ``AmountUnreadable``."""
        return koinu_of(bytes(self.value).decode())


class InputShape(_Shape, frozen=True, gc=False, rename={"script": "scriptSig"}):
    """The output that is spent; none in a coinbase."""

    txid: str = ""
    vout: int = -1
    coinbase: str | None = None
    #: Read only where the transaction is one of ours: few are, and signatures are long.
    script: msgspec.Raw = msgspec.Raw(b'{"hex":""}')
    sequence: int = SEQUENCE_FINAL

    @property
    def whole(self) -> Input:
        """With its script, as it is serialized; raises ``ValueError``."""
        if self.coinbase is not None:
            return Input("00" * 32, 2**32 - 1, bytes.fromhex(self.coinbase), self.sequence)
        script = msgspec.json.decode(self.script, type=ScriptShape)
        return Input(self.txid, self.vout, bytes.fromhex(script.hex), self.sequence)


class TransactionShape(_Shape, frozen=True, gc=False):
    """A transaction in a block."""

    txid: Hash
    vin: tuple[InputShape, ...]
    vout: tuple[OutputShape, ...]
    version: int = 1
    locktime: int = 0

    @property
    def coinbase(self) -> bool:
        """Whether it makes new coins."""
        return self.vin[0].coinbase is not None

    def whole(self) -> Transaction:
        """The transaction as it is serialized, whatever its txid says; raises ``ValueError``."""
        return Transaction(
            tuple(each.whole for each in self.vin),
            tuple(Output(each.amount, bytes.fromhex(each.script.hex)) for each in self.vout),
            # Written as unsigned by some nodes.
            self.version - 2**32 if self.version >= 2**31 else self.version,
            self.locktime,
        )

    def proven(self) -> Transaction:
        """The transaction that its txid names: the bytes it decodes give that very hash.

        So no amount and no script in it is the node's word alone. Raises ``TransactionUnproven``.
        """
        try:
            whole = self.whole()
            txid = whole.txid
        except (ValueError, StructError) as error:
            raise TransactionUnproven(f"transaction {self.txid} is none: {error}") from error
        if txid != self.txid:
            raise TransactionUnproven(f"what is said of transaction {self.txid} is that of {txid}")
        return whole


def header_hash(
    *, version: int, previous: str, merkle_root: str, time: int, bits: str, nonce: int
) -> str:
    """What a block is named by: the hash of its 80 bytes (Core's CBlockHeader::GetHash).

    Raises ``ValueError`` or ``struct.error`` for what no header can hold.
    """
    header = _HEADER.pack(
        # Written as signed by Core.
        version % 2**32,
        bytes.fromhex(previous)[::-1],
        bytes.fromhex(merkle_root)[::-1],
        time,
        int(bits, 16),
        nonce,
    )
    return double_sha256(header)[::-1].hex()


class BlockShape(_Shape, frozen=True, gc=False):
    """``getblock`` with verbosity 2."""

    hash: Hash
    height: Count
    confirmations: int
    version: int
    time: Count
    merkleroot: Hash
    bits: str
    nonce: Count
    tx: Annotated[tuple[TransactionShape, ...], Meta(min_length=1)]
    #: The first block has none.
    previousblockhash: str = ""

    def is_whole(self) -> bool:
        """Whether it is what its hash names: its header, and by the Merkle root in that its
        transactions, and no fewer.

        The rule is Core's ComputeMerkleRoot (src/consensus/merkle.cpp).
        """
        return self._is_named() and self._has_all()

    def _is_named(self) -> bool:
        try:
            return self.hash == header_hash(
                version=self.version,
                previous=self.previousblockhash or "00" * 32,
                merkle_root=self.merkleroot,
                time=self.time,
                bits=self.bits,
                nonce=self.nonce,
            )
        except (ValueError, StructError):
            return False

    def _has_all(self) -> bool:
        try:
            level = [bytes.fromhex(each.txid)[::-1] for each in self.tx]
        except ValueError:
            return False
        while len(level) > 1:
            if len(level) % 2:
                level.append(level[-1])
            level = [
                double_sha256(level[place] + level[place + 1]) for place in range(0, len(level), 2)
            ]
        return level[0][::-1].hex() == self.merkleroot


class HeaderShape(_Shape, frozen=True, gc=False):
    """``getblockheader``; ``confirmations`` is -1 for a block that is not on the main chain."""

    hash: Hash
    height: Count
    confirmations: int
    previousblockhash: str = ""


class ChainShape(_Shape, frozen=True, gc=False):
    """``getblockchaininfo``."""

    chain: str
    blocks: Count
    headers: int
    bestblockhash: Hash
    initialblockdownload: bool


class RawTransactionShape(_Shape, frozen=True, gc=False):
    """``getrawtransaction``, verbose.

    With ``-txindex`` a transaction of a stale block may come back with that block's hash and no
    confirmations: ``blockhash`` alone says nothing.
    """

    txid: Hash
    hex: str
    vin: tuple[InputShape, ...]
    vout: tuple[OutputShape, ...]
    blockhash: str | None = None
    confirmations: int = 0


class UnspentShape(_Shape, frozen=True, gc=False, rename={"script": "scriptPubKey"}):
    """``gettxout``: an output that nothing spends, in the chain or in the mempool."""

    bestblock: Hash
    confirmations: int
    value: msgspec.Raw
    script: ScriptShape
    coinbase: bool

    @property
    def amount(self) -> int:
        """In koinu; raises ``AmountUnreadable``."""
        return koinu_of(bytes(self.value).decode())


class FeeShape(_Shape, frozen=True, gc=False):
    """``estimatesmartfee``: DOGE for 1,000 bytes, -1 or nothing where the node knows none."""

    feerate: msgspec.Raw = msgspec.Raw(b"null")


class ErrorShape(_Shape, frozen=True, gc=False):
    """JSON-RPC's error: a code of src/rpc/protocol.h and a text."""

    code: int
    message: str = ""


_T = TypeVar("_T")


class ReplyShape(msgspec.Struct, Generic[_T], frozen=True):
    """JSON-RPC's answer to one call."""

    result: _T | None = None
    error: ErrorShape | None = None
    id: int | None = None
