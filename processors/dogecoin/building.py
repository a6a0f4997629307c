"""Templates: everything that a signature will cover, decided before a key is near.

A template is stored, then signed as it is. One that waits too long is replaced by another with a
higher fee (BIP 125): ``bump`` takes that from change, never from a payee, and keeps an input in
common with every version before, so that no two of them can ever both be in the chain.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import msgspec

from processors.dogecoin.fees import (
    CHANGE_MIN,
    DUST_HARD,
    RATE_INCREMENT,
    RATE_STEP,
    SIZE_END,
    FeePolicy,
    fee_for,
    size_max,
)
from processors.dogecoin.scripts import script_of_address
from processors.dogecoin.selection import (
    Bill,
    CannotPay,
    Coin,
    FeeTooHigh,
    NotEnough,
    Payment,
    Selection,
    TooLarge,
    by_size,
    select,
)
from processors.dogecoin.transactions import (
    SEQUENCE_REPLACEABLE,
    Input,
    Output,
    Transaction,
)
from schemas.amounts import format_amount
from schemas.words import Word


class Purpose(Word):
    """What an output is for."""

    #: Pays a user's withdrawal.
    WITHDRAWAL = "withdrawal"
    #: Comes back to us, on chain 1.
    CHANGE = "change"
    #: Goes to cold storage.
    COLD = "cold"


class TemplateInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A coin of ours, by our own record of it."""

    txid: str
    vout: int
    #: Koinu. What is signed does not commit to it, so it must be our record, not anybody's word.
    amount: int
    chain: int
    derivation_index: int
    address: str

    @property
    def outpoint(self) -> tuple[str, int]:
        """What names it on the chain."""
        return self.txid, self.vout


class TemplateOutput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An amount in koinu, who gets it, and why."""

    amount: int
    address: str
    purpose: Purpose
    #: Of a withdrawal's output.
    withdrawal_id: str | None = None
    #: Of change.
    derivation_index: int | None = None


class Template(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A transaction before it is signed. Inputs and outputs stand in the order they will have."""

    network: str
    inputs: tuple[TemplateInput, ...]
    outputs: tuple[TemplateOutput, ...]
    #: Koinu: the inputs less the outputs.
    fee: int

    @property
    def payees(self) -> tuple[TemplateOutput, ...]:
        """All outputs but change."""
        return tuple(each for each in self.outputs if each.purpose is not Purpose.CHANGE)

    @property
    def change(self) -> TemplateOutput | None:
        """The output that comes back, the first where there are several; all have its address."""
        return next((each for each in self.outputs if each.purpose is Purpose.CHANGE), None)

    @property
    def returned(self) -> int:
        """Koinu that come back."""
        return sum(each.amount for each in self.outputs if each.purpose is Purpose.CHANGE)

    @property
    def outpoints(self) -> frozenset[tuple[str, int]]:
        """What it spends."""
        return frozenset(each.outpoint for each in self.inputs)

    @property
    def size_max(self) -> int:
        """The most bytes it can have once it is signed."""
        scripts = [script_of_address(each.address, self.network) for each in self.outputs]
        return size_max(len(self.inputs), scripts)


class Change(NamedTuple):
    """Where change goes if there is any: an address of ours on chain 1, and its index."""

    address: str
    derivation_index: int


class DustPayment(CannotPay):
    """A payment so small that no node relays it."""

    def __init__(self, amount: int) -> None:
        super().__init__(
            f"a payment of {format_amount(amount)} DOGE is under {format_amount(DUST_HARD)}, "
            "which no node relays"
        )


class RateTooHigh(CannotPay):
    """What replaces the last version would pay more for 1,000 bytes than WALLET_FEE_RATE_MAX."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


class NoCommonInput(CannotPay):
    """No living input is shared with a version that could still confirm: both would pay."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


def withdrawal(withdrawal_id: str, address: str, amount: int) -> TemplateOutput:
    """The output that pays a withdrawal, ``amount`` in koinu."""
    return TemplateOutput(
        amount=amount, address=address, purpose=Purpose.WITHDRAWAL, withdrawal_id=withdrawal_id
    )


def to_cold(address: str, amount: int) -> TemplateOutput:
    """The output that moves ``amount`` koinu to cold storage."""
    return TemplateOutput(amount=amount, address=address, purpose=Purpose.COLD)


def build(
    coins: Iterable[Coin],
    payees: Sequence[TemplateOutput],
    change: Change,
    *,
    network: str,
    rate: int,
    policy: FeePolicy,
) -> Template:
    """Pay every payee from coins that are chosen here, at ``rate`` koinu for 1,000 bytes.

    ``change`` is used only if there is any (``Template.change``). Raises ``CannotPay``:
    ``NotEnough`` with what is missing, ``TooLarge``, ``FeeTooHigh``, ``DustPayment``; and
    ``NotPayable`` for an address of another network.
    """
    payments = _payments(payees, network)
    selection = select(coins, payments, min(rate, policy.rate_max), fee_max=policy.fee_max)
    return _template(network, _inputs(selection.coins), payees, selection, change)


def join(
    coins: Sequence[Coin], change: Change, *, network: str, rate: int, policy: FeePolicy
) -> Template:
    """Spend all of the coins into one output of our own: a consolidation.

    Raises ``NotEnough`` if nothing worth having is left, ``TooLarge`` or ``FeeTooHigh``.
    """
    bill = Bill((), min(rate, policy.rate_max))
    return _settled(_inputs(coins), (), bill, change, network=network, policy=policy)


def bump(
    versions: Sequence[Template],
    change: Change,
    *,
    rate: int,
    policy: FeePolicy,
    extra: Iterable[Coin] = (),
    dead: Collection[tuple[str, int]] = (),
    elsewhere: bool = False,
) -> Template:
    """The next version: the same payees as the last one has, by a higher fee.

    ``versions`` are all that could still confirm, the last one last. Its inputs stay, but for those
    whose outpoints are ``dead``; confirmed ``extra`` coins join, the largest first, where change
    does not suffice. Change comes back in one output, for what is late has no bytes to spare: where
    it came back before, or to ``change`` if that is not to be (``elsewhere``). The fee
    satisfies BIP 125 towards every version, whichever a node has: it pays more in all, more for
    each byte, and the relaying of its own bytes. Raises ``CannotPay``, above all ``NoCommonInput``.
    """
    last = versions[-1]
    living = tuple(each for each in last.inputs if each.outpoint not in dead)
    if any(version.outpoints.isdisjoint(each.outpoint for each in living) for version in versions):
        raise NoCommonInput
    least_rate = max(_rate_above(version) for version in versions)
    if least_rate > policy.rate_max:
        raise RateTooHigh
    kept = None if elsewhere else last.change
    if kept is not None and kept.derivation_index is not None:
        change = Change(kept.address, kept.derivation_index)
    rate = max(min(rate, policy.rate_max), least_rate)
    used = {*dead, *last.outpoints}
    return _settled(
        living,
        last.payees,
        Bill(_payments(last.payees, last.network), rate),
        change,
        network=last.network,
        policy=policy,
        paid=max(version.fee for version in versions),
        extra=[coin for coin in by_size(extra, rate) if coin.outpoint not in used],
    )


def unsigned(template: Template) -> Transaction:
    """The transaction without its signatures; its ``outputs_hash`` is that of the signed one.

    Raises ``NotPayable`` if an address is not of the template's network.
    """
    return Transaction(
        inputs=tuple(
            Input(each.txid, each.vout, b"", SEQUENCE_REPLACEABLE) for each in template.inputs
        ),
        outputs=tuple(
            Output(each.amount, script_of_address(each.address, template.network))
            for each in template.outputs
        ),
    )


def _rate_above(version: Template) -> int:
    """The least rate of what replaces it.

    A signature may be some bytes shorter than the longest, so that a version's true rate is higher
    than is reckoned here: hence a twentieth more, which seven bytes an input are.
    """
    paid = version.fee * 1000 // version.size_max
    return paid + max(RATE_STEP, paid // 20)


def _settled(
    inputs: tuple[TemplateInput, ...],
    payees: Sequence[TemplateOutput],
    bill: Bill,
    change: Change,
    *,
    network: str,
    policy: FeePolicy,
    paid: int = 0,
    extra: Sequence[Coin] = (),
) -> Template:
    """The template of these inputs, and of as many of the ``extra`` coins as it takes."""
    for added in range(len(extra) + 1):
        spent = inputs + _inputs(extra[:added])
        total = sum(each.amount for each in spent)
        # Only a replacement pays for being relayed.
        own = fee_for(bill.size(len(spent), change=True), RATE_INCREMENT) if paid else 0
        if bill.size(len(spent), change=False) >= SIZE_END:
            raise TooLarge
        settled = bill.settle(len(spent), total, least=paid + own)
        if settled is None:
            continue
        fee, rest = settled
        if bill.size(len(spent), change=rest > 0) >= SIZE_END:
            raise TooLarge
        if fee > policy.fee_max:
            raise FeeTooHigh(fee, policy.fee_max)
        return _template(network, spent, payees, Selection((), fee, rest), change)
    floor = 0 if bill.pays else CHANGE_MIN
    needed = bill.total + floor + max(paid + own, bill.fee(len(spent), change=not bill.pays))
    raise NotEnough(needed - total)


def _template(
    network: str,
    inputs: tuple[TemplateInput, ...],
    payees: Sequence[TemplateOutput],
    selection: Selection,
    change: Change,
) -> Template:
    returned = (
        TemplateOutput(
            amount=amount,
            address=change.address,
            purpose=Purpose.CHANGE,
            derivation_index=change.derivation_index,
        )
        for amount in selection.changes
    )
    return Template(network=network, inputs=inputs, outputs=(*payees, *returned), fee=selection.fee)


def _inputs(coins: Iterable[Coin]) -> tuple[TemplateInput, ...]:
    return tuple(
        TemplateInput(
            txid=coin.txid,
            vout=coin.vout,
            amount=coin.amount,
            chain=coin.chain,
            derivation_index=coin.derivation_index,
            address=coin.address,
        )
        for coin in coins
    )


def _payments(payees: Sequence[TemplateOutput], network: str) -> list[Payment]:
    for each in payees:
        if each.amount < DUST_HARD:
            raise DustPayment(each.amount)
    return [Payment(each.amount, script_of_address(each.address, network)) for each in payees]
