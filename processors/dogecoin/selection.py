"""Which coins pay: a set without change if there is one, else the largest first.

A set without change saves the bytes of an output now and of an input later. All amounts are koinu.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Final, NamedTuple

from processors.dogecoin.fees import (
    CHANGE_BYTES,
    CHANGE_MIN,
    FRAME_BYTES,
    INPUT_BYTES,
    SIZE_END,
    fee_for,
    inputs_size,
    outputs_size,
)
from processors.dogecoin.scripts import p2pkh_script
from schemas.amounts import KOINU_PER_DOGE, format_amount

#: Coins that should be at hand, each able to pay the like of this payment again: change can be
#: spent from one confirmation, so that payments from a single coin would wait for one another.
COINS_READY: Final = 4
#: No part of change is less; a coin more costs 0.002 DOGE until it is spent.
CHANGE_PART_MIN: Final = 100 * KOINU_PER_DOGE

#: Sets that are looked at in search of one without change; as many as Core looks at.
_TRIES_MAX: Final = 100_000
_CHANGE_SCRIPT: Final = p2pkh_script(bytes(20))


class Coin(NamedTuple):
    """An output of ours that may be spent; only what is in a block is (decision 0027)."""

    txid: str
    vout: int
    amount: int
    #: 0 for what users paid in, 1 for change.
    chain: int
    derivation_index: int
    #: The address that it was found under, which the signer derives again.
    address: str

    @property
    def outpoint(self) -> tuple[str, int]:
        """What names it on the chain."""
        return self.txid, self.vout


class Payment(NamedTuple):
    """One output that is asked for."""

    amount: int
    script: bytes


class Selection(NamedTuple):
    """Coins that pay, and where the rest of them goes; nothing is left over."""

    coins: tuple[Coin, ...]
    fee: int
    #: What comes back; 0 where nothing does.
    change: int
    #: In how many outputs it does.
    parts: int = 1

    @property
    def changes(self) -> tuple[int, ...]:
        """The amounts of the change outputs, alike but for the last koinu."""
        if not self.change:
            return ()
        each, rest = divmod(self.change, self.parts)
        return (each + rest, *[each] * (self.parts - 1))


class CannotPay(Exception):
    """No transaction can be made of these coins for these payments."""


class NotEnough(CannotPay):
    """The coins that may be spent now do not reach."""

    def __init__(self, missing: int) -> None:
        #: How much more it takes at the least: every coin more costs more fee.
        self.missing = missing
        super().__init__(f"at least {format_amount(missing)} DOGE are missing")


class TooLarge(CannotPay):
    """The transaction would not be relayed: pay fewer at once, or join small coins first."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


class FeeTooHigh(CannotPay):
    """The fee would pass the most that is allowed."""

    def __init__(self, fee: int, fee_max: int) -> None:
        self.fee = fee
        super().__init__(
            f"a fee of {format_amount(fee)} DOGE passes the {format_amount(fee_max)} allowed: "
            "pay fewer at once, join small coins first, or raise WALLET_FEE_MAX"
        )


class Bill:
    """What payments cost, by the number of inputs and of change outputs."""

    def __init__(self, payments: Sequence[Payment], rate: int) -> None:
        self.rate = rate
        #: All payments together.
        self.total = sum(each.amount for each in payments)
        self.pays = bool(payments)
        scripts = [each.script for each in payments]
        #: All but the inputs, by the number of change outputs.
        self._sizes = [
            FRAME_BYTES + outputs_size([*scripts, *[_CHANGE_SCRIPT] * change])
            for change in range(COINS_READY + 1)
        ]
        #: The price of outputs that are soft dust.
        self.dust = fee_for(0, rate, (each.amount for each in payments))

    def size(self, inputs: int, *, change: int) -> int:
        """Most bytes of the transaction, of whose outputs so many are ``change``."""
        return self._sizes[change] + inputs_size(inputs)

    def fee(self, inputs: int, *, change: int) -> int:
        """The least fee of the transaction."""
        return fee_for(self.size(inputs, change=change), self.rate) + self.dust

    def settle(self, inputs: int, total: int, *, least: int = 0) -> tuple[int, int] | None:
        """Fee and change for so many inputs of so much together; None if they do not reach.

        Change under ``CHANGE_MIN`` goes to the fee, which is ``least`` at the least.
        """
        over = total - self.total
        change = over - max(least, self.fee(inputs, change=True))
        if change >= CHANGE_MIN:
            return over - change, change
        if self.pays and over >= max(least, self.fee(inputs, change=False)):
            return over, 0
        return None


def select(
    coins: Iterable[Coin], payments: Sequence[Payment], rate: int, *, fee_max: int
) -> Selection:
    """Coins for one payment or more, at ``rate`` koinu for 1,000 bytes.

    The same coins in any order give the same selection. Raises ``NotEnough``, ``TooLarge`` or
    ``FeeTooHigh``.
    """
    bill = Bill(payments, rate)
    if bill.size(1, change=False) >= SIZE_END:
        raise TooLarge
    usable = by_size(coins, rate)
    selection = _without_change(usable, bill)
    if selection is None or selection.fee > fee_max:
        selection = _largest_first(usable, bill)
    if selection.fee > fee_max:
        raise FeeTooHigh(selection.fee, fee_max)
    split = _split(selection, usable, bill)
    return split if split.fee <= fee_max else selection


def parts_of(change: int, paid: int, ready: int) -> int:
    """In how many coins change comes back, where a payment of ``paid`` koinu leaves ``ready`` coins
    that could each pay the like again: as many as are lacking, as far as the change goes."""
    like = max(paid, CHANGE_PART_MIN)
    return max(1, min(COINS_READY - ready, change // like))


def _split(selection: Selection, usable: Sequence[Coin], bill: Bill) -> Selection:
    """The same coins with large change in parts; their bytes are paid from the change."""
    spent = {coin.outpoint for coin in selection.coins}
    ready = sum(
        coin.amount >= max(bill.total, CHANGE_PART_MIN) and coin.outpoint not in spent
        for coin in usable
    )
    parts = parts_of(selection.change, bill.total, ready)
    count = len(selection.coins)
    if parts == 1 or bill.size(count, change=parts) >= SIZE_END:
        return selection
    more = bill.fee(count, change=parts) - bill.fee(count, change=1)
    return Selection(selection.coins, selection.fee + more, selection.change - more, parts)


def by_size(coins: Iterable[Coin], rate: int) -> list[Coin]:
    """The coins that are worth more than their input costs, the largest first.

    The outpoint decides between equals, so that the order in which they came never does.
    """
    usable = (coin for coin in coins if _worth(coin, rate) > 0)
    return sorted(usable, key=lambda coin: (-coin.amount, coin.outpoint))


def _largest_first(usable: Sequence[Coin], bill: Bill) -> Selection:
    chosen: list[Coin] = []
    total = 0
    for coin in usable:
        if bill.size(len(chosen) + 1, change=False) >= SIZE_END:
            break
        chosen.append(coin)
        total += coin.amount
        settled = bill.settle(len(chosen), total)
        if settled is not None:
            if bill.size(len(chosen), change=settled[1] > 0) >= SIZE_END:
                raise TooLarge
            return Selection(tuple(chosen), *settled)
    # All together would do, if only a transaction could hold them.
    if bill.settle(len(usable), sum(coin.amount for coin in usable)) is not None:
        raise TooLarge
    raise NotEnough(bill.total + bill.fee(max(len(chosen), 1), change=False) - total)


def _without_change(usable: Sequence[Coin], bill: Bill) -> Selection | None:
    """Branch and bound: the first set whose rest is worth less than change costs.

    Depth first, the larger coins taken first; a branch ends where it holds too much, or where all
    the coins that follow cannot make it enough.
    """
    worth = [_worth(coin, bill.rate) for coin in usable]
    rest = [*accumulate(reversed(worth), initial=0)][::-1]
    needed = 1000 * (bill.total + bill.dust) + bill.size(0, change=False) * bill.rate
    most = needed + 1000 * _given_away_max(bill.rate)
    taken: list[int] = []
    held = at = 0
    for _ in range(_TRIES_MAX):
        if needed <= held <= most:
            found = _settled([usable[each] for each in taken], bill)
            if found is not None:
                return found
        if at < len(worth) and held < needed <= held + rest[at]:
            taken.append(at)
            held += worth[at]
            at += 1
        elif taken:
            last = taken.pop()
            held -= worth[last]
            at = last + 1
            # A coin that is worth the same, taken in place of the one left, leads nowhere new.
            while at < len(worth) and worth[at] == worth[last]:
                at += 1
        else:
            return None
    return None


def _settled(coins: Sequence[Coin], bill: Bill) -> Selection | None:
    """These coins as a selection without change, if they are one by the exact fee."""
    over = sum(coin.amount for coin in coins) - bill.total
    least = bill.fee(len(coins), change=False)
    if not least <= over <= least + _given_away_max(bill.rate):
        return None
    if over - bill.fee(len(coins), change=True) >= CHANGE_MIN:
        return None
    if bill.size(len(coins), change=False) >= SIZE_END:
        return None
    return Selection(tuple(coins), over, 0)


def _given_away_max(rate: int) -> int:
    """What no change may cost: as much as change would, now and when it is spent.

    Not so much that change would be made of it, but for a koinu: this fee is rounded up by itself.
    """
    costs = fee_for(CHANGE_BYTES + INPUT_BYTES, rate)
    return min(costs, CHANGE_MIN - 1 + fee_for(CHANGE_BYTES, rate))


def _worth(coin: Coin, rate: int) -> int:
    """What the coin brings beyond the fee of its input, in thousandths of a koinu to be exact."""
    return 1000 * coin.amount - INPUT_BYTES * rate
