"""What operators order: joining small coins, and moving what is too much to cold storage.

An order reserves its coins and stores its template, as a payment of withdrawals does; the payer
that runs signs and sends it. So no key is needed here, and a dry run shows what would be stored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from db.engine import Cursor
from db.treasury import payouts as store
from db.treasury.payouts import Tip
from db.treasury.purse import (
    Holding,
    Purse,
    holdings,
    index_end,
    is_watched,
    owed,
    spendable,
    spendable_total,
)
from processors.dogecoin.building import Change, Template, build, join, to_cold
from processors.dogecoin.selection import CannotPay, Coin, FeeTooHigh, NotEnough, TooLarge
from schemas.addresses import check_address
from schemas.amounts import format_amount
from schemas.payouts import PayoutKind, PayoutStatus
from streams.payer.office import BEHIND_MAX, Desk, Limits, usable_tip
from streams.payer.reserving import COINS_MAX, put_in

#: Inputs of one consolidation: three quarters of what is relayed.
INPUTS_MAX: Final = 500
_HALVINGS_MAX: Final = 12
#: Indices after the last one that was given out: who notes an address notes one of the first.
_GAP: Final = 1000


class NotOrdered(Exception):
    """The order cannot be given; the text says why."""


class NothingToDo(NotOrdered):
    """There is nothing to order, which is no fault; the text says what there is."""


class Forecast(NamedTuple):
    """What an order does, or would do: ``payout_id`` is None for a dry run."""

    payout_id: int | None
    coins: int
    total: int
    #: To cold storage; nothing in a consolidation.
    moved: int
    #: Back to an address of our own.
    returned: int
    fee: int
    size: int
    rate: int


def consolidate(
    desk: Desk, *, below: int, rate: int, inputs_max: int = INPUTS_MAX, dry_run: bool
) -> Forecast:
    """Join coins of less than ``below`` koinu into one, at ``rate``; the smallest first.

    Raises ``NotOrdered``.
    """

    def plan(cursor: Cursor, purse: Purse, change: Change) -> Template:
        found = [Coin(*row) for row in spendable(cursor, purse, inputs_max, smallest_first=True)]
        coins = [coin for coin in found if coin.amount < below]
        if len(coins) < 2:
            raise NothingToDo(
                f"there are not two coins of less than {format_amount(below)} DOGE: nothing to join"
            )
        limits = desk.limits
        return join(coins, change, network=limits.network, rate=rate, policy=limits.policy)

    return _order(desk, PayoutKind.CONSOLIDATION, plan, rate, dry_run=dry_run)


def gather(
    desk: Desk, *, rate: int, inputs_max: int = INPUTS_MAX, dry_run: bool
) -> Forecast | None:
    """Bring coins of former accounts to the present one, the largest first.

    As many as fit into one transaction under the cap of its fee; None if there is none that is
    worth its fee. Whatever the node's rate: coins whose key may be in other hands do not wait for a
    better one. Raises ``NotOrdered``.
    """

    def plan(cursor: Cursor, purse: Purse, change: Change) -> Template:
        present = desk.present(cursor).fingerprint
        former = purse._replace(account_keys=tuple(k for k in purse.account_keys if k != present))
        coins = [Coin(*row) for row in spendable(cursor, former, inputs_max)]
        return _joined_as_fits(desk.limits, coins, change, rate)

    try:
        return _order(desk, PayoutKind.CONSOLIDATION, plan, rate, dry_run=dry_run)
    except NotOrdered as fault:
        if isinstance(fault.__cause__, NotEnough):
            return None
        raise


def former_holdings(desk: Desk) -> list[Holding]:
    """What former accounts have, those too that the settings do not name.

    Raises ``NotOrdered`` where the watcher is behind.
    """
    with desk.work("look for coins of former accounts") as cursor:
        present, purse = desk.present(cursor).fingerprint, desk.purse(_tip(cursor))
        found = holdings(cursor, purse.tip, purse.maturity)
    return [each for each in found if each.account_key != present]


def _joined_as_fits(limits: Limits, coins: Sequence[Coin], change: Change, rate: int) -> Template:
    """The largest of the coins, fewer until the transaction is within its bounds."""
    for _ in range(_HALVINGS_MAX):
        try:
            return join(coins, change, network=limits.network, rate=rate, policy=limits.policy)
        except (TooLarge, FeeTooHigh):
            if len(coins) == 1:
                raise
            coins = coins[: len(coins) // 2]
    raise TooLarge


def sweep(desk: Desk, *, address: str, keep: int, rate: int, dry_run: bool) -> Forecast:
    """Move to ``address`` what is there beyond ``keep`` koinu and what withdrawals wait for.

    As much of it as fits into one transaction; the fee comes on top of what is moved. Raises
    ``NotOrdered``.
    """
    fault = check_address(address, desk.limits.network)
    if fault is not None:
        raise NotOrdered(f"{address} cannot be paid: {fault.value}")

    def plan(cursor: Cursor, purse: Purse, change: Change) -> Template:
        if is_watched(cursor, address) or _is_ours_to_come(desk, cursor, address):
            raise NotOrdered(f"{address} is an address of this wallet itself")
        total = spendable_total(cursor, purse)
        excess = total - keep - owed(cursor)
        if excess <= 0:
            raise NothingToDo(
                f"{format_amount(total)} DOGE can be spent now, of which "
                f"{format_amount(total - excess)} are to stay: there is nothing to move"
            )
        return _as_much_as_fits(desk, cursor, purse, address, excess, change, rate)

    return _order(desk, PayoutKind.SWEEP, plan, rate, dry_run=dry_run, target=address)


def _is_ours_to_come(desk: Desk, cursor: Cursor, address: str) -> bool:
    """Whether it will be given to a user, or be change: what is swept there would be credited."""
    first = index_end(cursor)
    near, start = range(first, first + _GAP), range(_GAP)
    return desk.keyring.derives(address, start) or desk.keyring.derives(address, near)


def abandon(desk: Desk, payout_id: int) -> None:
    """Give up a payout of which nothing was ever signed; its withdrawals are paid by another one.

    Raises ``NotOrdered`` for any other.
    """
    with desk.work("abandon") as cursor:
        found = [each for each in store.open_payouts(cursor) if each.id == payout_id]
        if not found:
            raise NotOrdered(f"there is no open payout {payout_id}")
        if found[0].status is not PayoutStatus.RESERVED:
            raise NotOrdered(f"payout {payout_id} is signed, and may have been sent")
        store.abandon(cursor, payout_id, "given up by an operator")


def _as_much_as_fits(
    desk: Desk,
    cursor: Cursor,
    purse: Purse,
    address: str,
    amount: int,
    change: Change,
    rate: int,
) -> Template:
    limits = desk.limits
    coins = [Coin(*row) for row in spendable(cursor, purse, COINS_MAX)]
    fault: CannotPay | None = None
    for _ in range(_HALVINGS_MAX):
        try:
            return build(
                coins,
                [to_cold(address, amount)],
                change,
                network=limits.network,
                rate=rate,
                policy=limits.policy,
            )
        except NotEnough as error:
            fault, amount = error, amount - error.missing
        except (TooLarge, FeeTooHigh) as error:
            fault, amount = error, amount // 2
        if amount <= 0:
            break
    raise NotOrdered(str(fault))


def _tip(cursor: Cursor) -> Tip:
    tip = usable_tip(cursor)
    if tip is None:
        raise NotOrdered(
            f"the watcher is halted or more than {BEHIND_MAX} blocks behind: coins cannot "
            "be chosen by what it knows"
        )
    return tip


def _order(
    desk: Desk,
    kind: PayoutKind,
    plan: Callable[[Cursor, Purse, Change], Template],
    rate: int,
    *,
    dry_run: bool,
    target: str | None = None,
) -> Forecast:
    try:
        with desk.work("order") as cursor:
            purse = desk.purse(_tip(cursor))
            change = desk.next_change(cursor)
            template = plan(cursor, purse, change)
            payout_id = None
            if not dry_run:
                payout_id = store.insert_payout(cursor, kind, target)
                put_in(desk, cursor, payout_id, template, change, purse)
    except CannotPay as fault:
        raise NotOrdered(str(fault)) from fault
    moved = sum(each.amount for each in template.payees)
    returned = template.returned
    total = moved + returned + template.fee
    return Forecast(
        payout_id,
        len(template.inputs),
        total,
        moved,
        returned,
        template.fee,
        template.size_max,
        rate,
    )
