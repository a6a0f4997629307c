"""Step 7: coins for accepted claims, and the template of the transaction, in one transaction.

From here on the withdrawals are in this payout alone, and the coins in no other.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final, NamedTuple

from db.engine import Cursor
from db.treasury import payouts as store
from db.treasury.claims import Payee, assign_claims, awaited, to_pay
from db.treasury.purse import Purse, reserve, spendable, spendable_total
from processors.dogecoin.building import Change, Template, build, withdrawal
from processors.dogecoin.scripts import NotPayable
from processors.dogecoin.selection import CannotPay, Coin, NotEnough
from schemas.amounts import format_amount
from schemas.payouts import PayoutKind
from streams.metrics import PAYOUTS
from streams.payer import templates
from streams.payer.claiming import LOOK_MAX
from streams.payer.funds import affordable, change_under_way, tell_missing
from streams.payer.office import Desk, Office, usable_tip

log = logging.getLogger(__name__)

#: The largest coins that a selection looks at; a transaction holds about 670.
COINS_MAX: Final = 2000
#: Claims of one batch are decided within moments of each other: worth waiting for.
_TOGETHER_SECONDS: Final = 5.0


class Aside(NamedTuple):
    """One that cannot be paid even alone, and why."""

    payee: Payee
    fault: Exception


def reserve_coins(office: Office) -> int:
    """Make one payout of what waits to be paid, if anything does; how many withdrawals it pays."""
    with office.work("look for what to pay") as cursor:
        if awaited(cursor, _TOGETHER_SECONDS) or not to_pay(cursor, 1):
            return 0
    rate = office.rate()
    with office.work("reserve") as cursor:
        tip = usable_tip(cursor)
        owed = to_pay(cursor, LOOK_MAX)
        if tip is None or not owed:
            return 0
        purse = office.purse(tip)
        total = spendable_total(cursor, purse)
        late = change_under_way(cursor)
        change = office.next_change(cursor)
        coins = coins_of(cursor, purse)
        chosen = affordable(owed, total)[: office.limits.withdrawals_max]
        paid, template, aside = _plan(office, coins, chosen, change, rate)
        if template is not None:
            payout_id = store.insert_payout(cursor, PayoutKind.WITHDRAWALS)
            put_in(office, cursor, payout_id, template, change, purse)
            assign_claims(cursor, payout_id, [each.withdrawal_id for each in paid])
    missing = sum(each.amount for each in owed) - total - late
    _explain(office, aside, missing)
    if template is None:
        tell_missing(office, missing)
        return 0
    PAYOUTS.labels("reserved").inc()
    log.info(
        "reserved",
        extra={"payout": payout_id, "withdrawals": len(paid), "coins": len(template.inputs)},
    )
    return len(paid)


def put_in(
    desk: Desk, cursor: Cursor, payout_id: int, template: Template, change: Change, purse: Purse
) -> None:
    """Reserve a first template's coins, and store it."""
    if template.change is not None:
        desk.use_change(cursor, change)
    reserve(cursor, payout_id, [each.outpoint for each in template.inputs], purse)
    store.insert_version(cursor, payout_id, 1, templates.write(template), template.fee)


def coins_of(cursor: Cursor, purse: Purse) -> list[Coin]:
    """Coins to choose from, the largest first."""
    return [Coin(*row) for row in spendable(cursor, purse, COINS_MAX)]


def _plan(
    office: Office, coins: Sequence[Coin], owed: Sequence[Payee], change: Change, rate: int
) -> tuple[list[Payee], Template | None, list[Aside]]:
    """A template for as many as can be paid together; fewer where all are too many.

    One that cannot be paid even alone is set aside, so that it holds up nobody else.
    """
    waiting = list(owed)
    aside: list[Aside] = []
    fault: Exception
    while waiting:
        paid = waiting
        while paid:
            try:
                return paid, _built(office, coins, paid, change, rate), aside
            except NotEnough as error:
                # The fee did not fit in: the last one waits for more.
                fault, paid = error, paid[:-1]
            except (CannotPay, NotPayable) as error:
                fault, paid = error, paid[: len(paid) // 2]
        aside.append(Aside(waiting[0], fault))
        waiting = waiting[1:]
    return [], None, aside


def _built(
    office: Office, coins: Sequence[Coin], paid: Sequence[Payee], change: Change, rate: int
) -> Template:
    return build(
        coins,
        [withdrawal(p.withdrawal_id, p.destination_address, p.amount) for p in paid],
        change,
        network=office.limits.network,
        rate=rate,
        policy=office.limits.policy,
    )


def _explain(office: Office, aside: Sequence[Aside], missing: int) -> None:
    """What could not be paid waits; operators are told why unless it is only late."""
    hopeless = [(each, fault) for each, fault in aside if not isinstance(fault, NotEnough)]
    if not hopeless and missing <= 0:
        # There is enough, but not in the coins that one transaction can hold.
        hopeless = list(aside)
    if not hopeless:
        office.silence("cannot-pay", "payouts")
        return
    each, fault = hopeless[0]
    office.alarm(
        "cannot-pay",
        "payouts",
        f"Withdrawal {each.withdrawal_id} of {format_amount(each.amount)} DOGE cannot be paid, and "
        f"{len(hopeless) - 1} others: {fault} `wallet payer consolidate` joins small coins.",
    )
