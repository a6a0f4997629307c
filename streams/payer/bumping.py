"""Step 8: another version of a payment that is not mined: a higher fee, or coins that still live.

The fee comes from change, never from a payee. Each new version keeps a living input in common with
every signed version that could still confirm, so that no two of them can ever both be mined.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Final

from db.engine import Cursor
from db.treasury import payouts as store
from db.treasury.payouts import Tip
from db.treasury.purse import Purse, reserve
from processors.dogecoin.building import Change, NoCommonInput, Template, bump
from processors.dogecoin.fees import FeePolicy
from processors.dogecoin.selection import CannotPay, Coin
from streams.metrics import PAYOUTS
from streams.node.answers import Reason, Verdict
from streams.payer import templates
from streams.payer.ancestry import Ancestry
from streams.payer.confirming import Matter, depths, matters
from streams.payer.judging import Outpoint, Standing, Threatened, Waiting, judge, standing
from streams.payer.office import Office, usable_tip
from streams.payer.reserving import coins_of

#: What the answer to a fee that is too low starts with, as ``sending`` keeps it.
_TOO_LOW: Final = f"{Verdict.REFUSED.value} ({Reason.FEE_TOO_LOW.value})"

log = logging.getLogger(__name__)


def replace(office: Office, ancestry: Ancestry, unread: Collection[int] = ()) -> int:
    """Store new versions where they are due; how many. They are signed and sent as the first.

    None of the ``unread``: what spends their coins may be a version that is not known here.
    """
    buried = ancestry.buried
    with office.work("look for what to replace") as cursor:
        tip = usable_tip(cursor)
        late = set(store.to_bump(cursor, office.limits.bump_seconds, _TOO_LOW))
        due = [
            matter
            for matter in matters(cursor, store.open_payouts(cursor))
            if tip is not None
            and matter.payout.id not in unread
            and _is_due(office, matter, late, buried, tip)
        ]
    if not due:
        return 0
    rate = office.rate()
    return sum(_replace(office, matter.payout.id, rate, buried) for matter in due)


def _is_due(
    office: Office,
    matter: Matter,
    late: Collection[int],
    buried: Collection[Outpoint],
    tip: Tip,
) -> bool:
    """Whether the newest version is late or can no longer confirm, and one before may be out."""
    newest = matter.tries[-1] if matter.tries else None
    if newest is None or not any(each.signed for each in matter.tries):
        return False
    if not newest.signed and matter.payout.id not in late:
        return False
    deep = depths(office, tip)
    match judge(matter.tries, matter.spends, matter.adrift, buried, deep):
        case Waiting():
            return matter.payout.id in late
        case Threatened(_, confirmations):
            lost = {spend.outpoint for spend in matter.spends}
            return confirmations >= deep.paid and bool(newest.inputs & lost)
        case _:
            return False


def _replace(office: Office, payout_id: int, rate: int, buried: Collection[Outpoint]) -> bool:
    """Store one payout's next version; False where that cannot be, of which operators hear."""
    subject = f"payout {payout_id}"
    try:
        with office.work("replace") as cursor:
            tip = usable_tip(cursor)
            found = [p for p in store.open_payouts(cursor) if p.id == payout_id]
            if tip is None or not found:
                return False
            (matter,) = matters(cursor, found)
            purse = office.purse(tip)
            change = office.next_change(cursor)
            rest = standing(matter.tries, matter.spends, matter.adrift, buried, depths(office, tip))
            is_former = partial(office.is_former, cursor)
            coins = coins_of(cursor, purse)
            template = _next(matter, rest, change, rate, coins, office.limits.policy, is_former)
            _put(office, cursor, matter, template, change, purse)
    except CannotPay as fault:
        office.alarm("cannot-bump", subject, f"{subject} cannot be replaced: {fault}")
        return False
    PAYOUTS.labels("bumped").inc()
    log.info("replaced", extra={"payout": payout_id, "fee_koinu": template.fee})
    return True


def _next(
    matter: Matter,
    rest: Standing,
    change: Change,
    rate: int,
    coins: Sequence[Coin],
    policy: FeePolicy,
    is_former: Callable[[Template], bool],
) -> Template:
    """The next version's template. Change that would go to a former account goes to the present.

    A coin adrift is left out if that can be; else it stays, for its own transaction waits in the
    same mempool.
    """
    stored = {version.version: version.template for version in matter.versions}
    versions = [templates.read(stored[number]) for number in rest.versions]
    if not versions:
        raise NoCommonInput
    taken = frozenset(spend.outpoint for spend in matter.spends)
    again = partial(
        bump,
        versions,
        change,
        rate=rate,
        policy=policy,
        extra=coins,
        elsewhere=is_former(versions[-1]),
    )
    try:
        return again(dead=rest.gone)
    except NoCommonInput:
        if taken == rest.gone:
            raise
    return again(dead=taken)


def _put(
    office: Office,
    cursor: Cursor,
    matter: Matter,
    template: Template,
    change: Change,
    purse: Purse,
) -> None:
    """Store the version, and reserve the coins that joined."""
    ours = template.change
    if ours is not None and ours.address == change.address:
        office.use_change(cursor, change)
    had = {outpoint for each in matter.tries for outpoint in each.inputs}
    joined = sorted(template.outpoints - had)
    if joined:
        reserve(cursor, matter.payout.id, joined, purse)
    store.insert_version(
        cursor,
        matter.payout.id,
        matter.versions[-1].version + 1,
        templates.write(template),
        template.fee,
    )
