"""What a transaction costs and what no node would relay: the rules of Core 1.14, held by ourselves.

Our own node takes transactions from us that its peers then refuse, so that its word is no proof.
Sizes are those of the longest signatures: a fee is never under its rate. Amounts are koinu, rates
koinu for 1,000 bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from processors.dogecoin.curve import PUBLIC_KEY_BYTES, SIGNATURE_BYTES_MAX
from processors.dogecoin.transactions import compact_size
from schemas.amounts import format_amount, parse_amount

#: What miners ask for by default (DEFAULT_BLOCK_MIN_TX_FEE); the wallets' recommended rate too.
RATE_FLOOR: Final = 1_000_000
#: What nodes relay (DEFAULT_MIN_RELAY_TX_FEE); a rate between the two waits long for a block.
RATE_RELAYED: Final = 100_000
#: A replacement pays so much more for its own bytes (DEFAULT_INCREMENTAL_RELAY_FEE).
RATE_INCREMENT: Final = 10_000
#: What Core's wallet adds to a rate when it replaces (WALLET_INCREMENTAL_RELAY_FEE).
RATE_STEP: Final = 100_000

#: An output below it is not relayed at all.
DUST_HARD: Final = 100_000
#: Each output below it costs that much more.
DUST_SOFT: Final = 1_000_000
#: Change below it goes to the fee: it would cost more than it is worth.
CHANGE_MIN: Final = DUST_SOFT

#: A transaction of so many bytes is not relayed (MAX_STANDARD_TX_WEIGHT / 4).
SIZE_END: Final = 100_000

#: Outpoint, length, signature with its hash type and public key with theirs, sequence.
INPUT_BYTES: Final = 36 + 1 + (1 + SIGNATURE_BYTES_MAX + 1) + (1 + PUBLIC_KEY_BYTES) + 4
#: Amount, length, and the 25 bytes of P2PKH: what change takes.
CHANGE_BYTES: Final = 8 + 1 + 25
#: Version and locktime.
FRAME_BYTES: Final = 4 + 4


def unpayable(amount: int) -> str:
    """Why no withdrawal of so few koinu can be paid."""
    return (
        f"a withdrawal of {format_amount(amount)} DOGE is under {format_amount(DUST_HARD)}, which "
        "no node relays"
    )


class FeesImpossible(ValueError):
    """Settings of fees that contradict each other or the chain's own rules."""


@dataclass(frozen=True, kw_only=True)
class FeePolicy:
    """How much may be paid: the rate where the node knows none, and what is never passed."""

    rate: int = RATE_FLOOR
    rate_max: int = 100 * RATE_FLOOR
    fee_max: int = 1_000_000_000

    def __post_init__(self) -> None:
        if not RATE_RELAYED <= self.rate <= self.rate_max:
            raise FeesImpossible(
                f"a fee rate of {format_amount(self.rate)} DOGE is not between "
                f"{format_amount(RATE_RELAYED)}, below which no node relays, and the most "
                f"that is allowed, {format_amount(self.rate_max)}"
            )
        if self.fee_max < self.rate:
            raise FeesImpossible(
                f"at most {format_amount(self.fee_max)} DOGE a transaction is less than "
                f"{format_amount(self.rate)} for each 1,000 bytes"
            )

    @classmethod
    def of(cls, *, rate: str, rate_max: str, fee_max: str) -> FeePolicy:
        """From the settings' amounts of DOGE; raises ``Malformed`` or ``FeesImpossible``."""
        return cls(
            rate=parse_amount(rate), rate_max=parse_amount(rate_max), fee_max=parse_amount(fee_max)
        )

    def rate_for(self, estimate: int | None) -> int:
        """The rate to pay, by the node's estimate; None or a negative one says it knows none."""
        if estimate is None or estimate < self.rate:
            return self.rate
        return min(estimate, self.rate_max)


def inputs_size(inputs: int) -> int:
    """The most bytes that so many of our inputs take, their count included."""
    return len(compact_size(inputs)) + inputs * INPUT_BYTES


def outputs_size(scripts: Sequence[bytes]) -> int:
    """The bytes of outputs with these scripts, their count included."""
    each = sum(8 + len(compact_size(len(script))) + len(script) for script in scripts)
    return len(compact_size(len(scripts))) + each


def size_max(inputs: int, scripts: Sequence[bytes]) -> int:
    """The most bytes that so many of our inputs and these output scripts take, once signed."""
    return FRAME_BYTES + inputs_size(inputs) + outputs_size(scripts)


def fee_for(size: int, rate: int, amounts: Iterable[int] = ()) -> int:
    """The fee of ``size`` bytes at ``rate``, rounded up, and of outputs that are soft dust."""
    dust = sum(DUST_SOFT for amount in amounts if amount < DUST_SOFT)
    return -(-size * rate // 1000) + dust
