"""Step 1: withdrawals under way in the ledger that nothing here has: the payer's tables were lost.

They are noted and told, and never paid again by themselves: signed bytes of theirs may be out.
"""

from __future__ import annotations

import time
from typing import Final

from db.engine import Cursor
from db.treasury import payouts as store
from db.treasury import stranded
from db.treasury.claims import Payee
from db.treasury.payouts import read_tip
from schemas.amounts import format_amount
from schemas.payouts import PayoutStatus
from streams.metrics import STRANDED
from streams.payer import orders
from streams.payer.adopting import Blocks, shown
from streams.payer.office import Desk, Office, usable_tip

#: Told one by one; of more than these the number is told.
_TOLD_MAX: Final = 20
#: Where there are no coins that are worth anything others may play the payer.
_IN_EARNEST: Final = "mainnet"


class Strandings:
    """Looks now and then: what is stranded stays so until an operator has seen to it."""

    def __init__(self, every_seconds: float = 30.0) -> None:
        self._every = every_seconds
        self._looked = -every_seconds

    def look(self, office: Office) -> int:
        """Note and tell them if it is time; how many there are."""
        now = time.monotonic()
        if now - self._looked < self._every:
            return 0
        found = found_by(office)
        self._looked = now
        STRANDED.set(len(found))
        office.alarms.keep("withdrawal-stranded", {each.withdrawal_id for each in found})
        for each in found[:_TOLD_MAX]:
            office.alarm(
                "withdrawal-stranded",
                each.withdrawal_id,
                f"Withdrawal {each.withdrawal_id} of {format_amount(each.amount)} DOGE is "
                f"{each.status}, and no payout pays it: the payer's tables were lost. It is not "
                "paid again by itself; `wallet payer stranded` tells what the chain shows of it.",
            )
        if len(found) > _TOLD_MAX:
            office.alarm(
                "withdrawal-stranded",
                "withdrawals",
                f"{len(found)} withdrawals are stranded in all: `wallet payer stranded`.",
            )
        return len(found)


def found_by(desk: Desk) -> list[stranded.Stranded]:
    """All that are stranded, each noted with the tip of when it was found."""
    with desk.work("look for stranded withdrawals") as cursor:
        found = stranded.find(cursor, played=desk.limits.network != _IN_EARNEST)
        fresh = [each.withdrawal_id for each in found if each.height is None]
        if not fresh:
            return found
        height = _height(cursor)
        stranded.note(cursor, fresh, height)
    if height == stranded.UNKNOWN:
        return found
    return [each if each.height is not None else each._replace(height=height) for each in found]


def _height(cursor: Cursor) -> int:
    """The node's: a lost transaction can spend no coin that came later."""
    tip = read_tip(cursor)
    return stranded.UNKNOWN if tip is None else max(tip.height, tip.node_height)


def distrust(desk: Desk) -> list[str]:
    """Take all that is claimed, and that nothing was signed for, for stranded; their ids.

    After a backup was restored: whether they were paid since is known to nobody here. What was
    signed is known again by its coins (``adopting``).
    """
    with desk.work("distrust") as cursor:
        for payout in store.open_payouts(cursor):
            if payout.status is PayoutStatus.RESERVED:
                store.abandon(cursor, payout.id, "not signed when a backup was restored")
        ids = stranded.unpaid(cursor)
        stranded.note(cursor, ids, _height(cursor))
    return ids


class NotGivenUp(Exception):
    """A stranded withdrawal that may still be paid by what was lost; the text says by what."""


def give_up(desk: Desk, node: Blocks, withdrawal_id: str) -> None:
    """Give a stranded withdrawal back to its user, who may ask for it again.

    Only once nothing that was lost can pay it any more: the chain shows no payment of it, and every
    coin that was there when it was found, or came within the deepest reorganisation after, is
    spent as deep as a conflict counts. Raises ``NotGivenUp``, or ``NodeFault`` where the node
    cannot tell.
    """
    one = next((e for e in found_by(desk) if e.withdrawal_id == withdrawal_id), None)
    if one is None:
        raise NotGivenUp(f"{withdrawal_id} is not stranded")
    if one.height is None:
        raise NotGivenUp("no block is followed yet")
    seen = shown(desk, node, [withdrawal_id])
    if seen:
        raise NotGivenUp(
            f"transaction {seen[0].stranger.txid} in block {seen[0].stranger.height} pays it: "
            "`wallet payer adopt`"
        )
    limits = desk.limits
    with desk.work("give up") as cursor:
        tip = usable_tip(cursor)
        if tip is None:
            raise NotGivenUp("the watcher is halted or behind: what it knows is out of date")
        born = one.height + limits.burial_confirmations
        if tip.height <= born:
            raise NotGivenUp(f"wait until block {born + 1}: coins may come back until then")
        left = stranded.loose(cursor, born, tip.height - limits.conflict_confirmations + 1)
        if left.coins:
            raise NotGivenUp(
                f"{left.coins} coins of {format_amount(left.amount)} DOGE that were there at block "
                f"{born} are not spent {limits.conflict_confirmations} blocks deep, and a lost "
                "transaction may spend them: `wallet payer consolidate` spends them"
            )
        store.stage(cursor, [orders.fail(_payee(one), "stranded, and can no longer be paid")])


def _payee(one: stranded.Stranded) -> Payee:
    return Payee(one.withdrawal_id, one.user_id, one.amount, one.destination_address)
