"""Step 4: who spent our coins: a payment is paid, in danger, or beyond hope.

A payment is confirmed by its spent outpoints at ``withdrawal_confirmations``; a malleated twin
(our outputs under another txid) is adopted. It fails only when a transaction that conflicts with
every signed version has ``conflict_confirmations``, or an ancestor of each is dead at that depth.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from typing import NamedTuple, assert_never

from db.engine import Cursor
from db.treasury import payouts as store
from db.treasury.claims import payees
from db.treasury.payouts import Payout, Tip, Version
from db.treasury.purse import held, spends_of
from streams.metrics import PAYOUTS, PAYOUTS_OPEN
from streams.payer import books, orders, templates
from streams.payer.ancestry import Ancestry
from streams.payer.judging import (
    Dead,
    Depths,
    Judgement,
    Mined,
    Outpoint,
    Paid,
    Spend,
    Threatened,
    Try,
    Void,
    Waiting,
    judge,
)
from streams.payer.office import Office

log = logging.getLogger(__name__)


class Matter(NamedTuple):
    """A payout, and all that the chain says of it."""

    payout: Payout
    versions: list[Version]
    tries: list[Try]
    spends: list[Spend]
    adrift: frozenset[Outpoint]


def matters(cursor: Cursor, payouts: Iterable[Payout]) -> list[Matter]:
    """Payouts with their versions, and who spent their coins."""
    listed = list(payouts)
    ids = [payout.id for payout in listed]
    versions, spends, coins = (
        store.versions(cursor, ids),
        spends_of(cursor, ids),
        held(cursor, ids),
    )
    return [
        Matter(
            payout,
            versions.get(payout.id, []),
            [_try(version) for version in versions.get(payout.id, [])],
            [
                Spend((s.txid, s.vout), s.spender_txid, s.outputs_hash, s.height)
                for s in spends.get(payout.id, [])
            ],
            frozenset((c.txid, c.vout) for c in coins.get(payout.id, []) if c.height is None),
        )
        for payout in listed
    ]


def _try(version: Version) -> Try:
    inputs = frozenset((i.txid, i.vout) for i in templates.read(version.template).inputs)
    return Try(version.version, inputs, version.txid, version.outputs_hash)


def depths(office: Office, tip: Tip) -> Depths:
    """What counts as deep, at a tip."""
    limits = office.limits
    return Depths(tip.height, limits.confirmations, limits.conflict_confirmations)


def follow(office: Office, ancestry: Ancestry, unread: Collection[int] = ()) -> int:
    """Judge every open payout, and act on it; how many came to an end.

    None of the ``unread`` fails: what spends their coins could not be looked at.
    """
    buried = ancestry.look(office)
    ended = 0
    with office.work("judge") as cursor:
        tip = store.read_tip(cursor)
        if tip is None:
            return 0
        open_payouts = store.open_payouts(cursor)
        judged = []
        for matter in matters(cursor, open_payouts):
            judgement = judge(
                matter.tries, matter.spends, matter.adrift, buried, depths(office, tip)
            )
            if isinstance(judgement, Dead | Void) and matter.payout.id in unread:
                continue
            ended += _act(cursor, matter, judgement)
            judged.append((matter, judgement))
    PAYOUTS_OPEN.set(len(open_payouts) - ended)
    for matter, judgement in judged:
        _tell(office, matter, judgement)
    return ended


def _act(cursor: Cursor, matter: Matter, judgement: Judgement) -> int:
    payout = matter.payout
    match judgement:
        case Waiting() | Mined() | Threatened():
            return 0
        case Paid(version, txid):
            number = store.set_confirmed(cursor, payout.id, txid)
            won = next(v for v in matter.versions if v.version == version)
            store.stage(cursor, books.confirmed(cursor, payout, won, txid, number))
        case Dead(cause):
            store.stage(cursor, [orders.fail(p, cause) for p in payees(cursor, payout.id)])
            store.set_failed(cursor, payout.id, cause)
        case Void((txid, vout)):
            store.abandon(cursor, payout.id, f"{txid}:{vout} was lost before anything was signed")
        case _:
            assert_never(judgement)
    return 1


def _tell(office: Office, matter: Matter, judgement: Judgement) -> None:
    """Log, count and sound alarms, once it is committed."""
    subject = f"payout {matter.payout.id}"
    match judgement:
        case Waiting() | Mined():
            office.silence("coins-taken", subject)
        case Paid(_, txid):
            PAYOUTS.labels("confirmed").inc()
            log.info("confirmed", extra={"payout": matter.payout.id, "txid": txid})
        case Threatened(txids, confirmations):
            office.alarm(
                "coins-taken",
                subject,
                f"{', '.join(txids)} spends coins of {subject}, and we did not sign it for that: "
                f"{confirmations} confirmations. Does somebody else have the key?",
            )
        case Dead(cause):
            PAYOUTS.labels("failed").inc()
            office.alarm("payout-failed", subject, f"No version of {subject} can confirm: {cause}.")
        case Void():
            PAYOUTS.labels("abandoned").inc()
            log.warning("abandoned", extra={"payout": matter.payout.id})
        case _:
            assert_never(judgement)
