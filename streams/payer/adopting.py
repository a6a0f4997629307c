"""Payments that stand in a block and not in our tables: read from the node, proven, taken over.

What spends coins of ours, and pays each withdrawal what it asked for and nobody else, was signed
with our key for them: it is their payment, whatever tables were lost. To know it again moves no
coin; not to know it would pay twice, or give back what was paid.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from db.engine import Cursor
from db.treasury import payouts as store
from db.treasury import stranded
from db.treasury.claims import adopt_claims, payees
from db.treasury.payouts import Payout
from db.treasury.purse import hold
from db.treasury.stranded import Paid, Stranger
from processors.dogecoin.building import Purpose, Template, TemplateInput, TemplateOutput
from processors.dogecoin.scripts import address_of_script
from processors.dogecoin.transactions import Transaction
from schemas.amounts import format_amount
from schemas.payouts import PayoutKind, PayoutStatus
from streams.node.client import NodeFault, NodeUnusable
from streams.node.shapes import BlockShape, TransactionUnproven
from streams.payer import orders, templates
from streams.payer.office import Desk, Office

log = logging.getLogger(__name__)

_UNDER_WAY = ("PROCESSING", "BROADCAST")


class Blocks(Protocol):
    """A node that has blocks."""

    def block(self, block_hash: str) -> BlockShape:
        """A block, whole; raises ``NodeFault``."""


class NotTheirs(Exception):
    """A transaction is no payment of the withdrawals that were looked for; the text says why."""


class Asked(NamedTuple):
    """Who is to be paid: by a withdrawal, or with no id by a sweep."""

    withdrawal_id: str | None
    address: str
    amount: int | None


def read(node: Blocks, stranger: Stranger) -> Transaction:
    """The transaction, with every byte of it; raises ``NodeFault``."""
    for each in node.block(stranger.block_hash).tx:
        if each.txid == stranger.txid:
            try:
                return each.proven()
            except TransactionUnproven as fault:
                raise NodeUnusable(str(fault)) from fault
    raise NodeUnusable(f"block {stranger.block_hash} lacks transaction {stranger.txid}")


def template_of(
    cursor: Cursor, transaction: Transaction, network: str, asked: Sequence[Asked]
) -> Template:
    """What was signed, told from the transaction; raises ``NotTheirs``.

    Every input is a coin of ours, and every output pays one of those who asked, or is change.
    """
    outpoints = [(each.txid, each.vout) for each in transaction.inputs]
    ours = {(c.txid, c.vout): c for c in stranded.coins_at(cursor, outpoints)}
    if len(ours) != len(outpoints):
        raise NotTheirs("it spends coins that are not ours")
    paid = [
        (address_of_script(each.script, network) or each.script.hex(), each.amount)
        for each in transaction.outputs
    ]
    change = stranded.change_indices(cursor, [address for address, _ in paid])
    waiting = list(asked)
    outputs = []
    for address, amount in paid:
        if address in change:
            outputs.append(
                TemplateOutput(
                    amount=amount,
                    address=address,
                    purpose=Purpose.CHANGE,
                    derivation_index=change[address],
                )
            )
            continue
        outputs.append(_payment(address, amount, waiting))
    total = sum(coin.amount for coin in ours.values())
    return Template(
        network=network,
        inputs=tuple(TemplateInput(**ours[outpoint]._asdict()) for outpoint in outpoints),
        outputs=tuple(outputs),
        fee=total - sum(amount for _, amount in paid),
    )


def _payment(address: str, amount: int, waiting: list[Asked]) -> TemplateOutput:
    """The output that pays the first of those who wait for just that, who waits no longer."""
    for each in waiting:
        if each.address == address and each.amount in (None, amount):
            waiting.remove(each)
            return TemplateOutput(
                amount=amount,
                address=address,
                purpose=Purpose.COLD if each.withdrawal_id is None else Purpose.WITHDRAWAL,
                withdrawal_id=each.withdrawal_id,
            )
    raise NotTheirs(f"it pays {format_amount(amount)} DOGE to {address}, for which nobody asked")


# ---------------------------------------------------------------------- stranded withdrawals


class Shown(NamedTuple):
    """A payment that the chain shows of stranded withdrawals."""

    stranger: Stranger
    transaction: Transaction
    template: Template
    #: All that it pays; some may be confirmed in the ledger already.
    paid: tuple[Paid, ...]


def shown(desk: Desk, node: Blocks, withdrawal_ids: Sequence[str]) -> list[Shown]:
    """What the chain shows of stranded withdrawals, each of which is in one of these at most.

    Raises ``NodeFault``: what cannot be read may be their payment.
    """
    with desk.work("look for strangers") as cursor:
        strangers = stranded.strangers(cursor, withdrawal_ids)
    left = list(withdrawal_ids)
    found = []
    for stranger in strangers:
        transaction = read(node, stranger)
        with desk.work("look at a stranger") as cursor:
            one = _shown(cursor, desk.limits.network, stranger, transaction, left)
        if one is not None:
            found.append(one)
            left = [each for each in left if each not in {p.withdrawal_id for p in one.paid}]
    return found


def _shown(
    cursor: Cursor, network: str, stranger: Stranger, transaction: Transaction, ids: Sequence[str]
) -> Shown | None:
    candidates = stranded.paid_by(cursor, stranger.txid, ids)
    asked = [Asked(p.withdrawal_id, p.destination_address, p.amount) for p in candidates]
    try:
        template = template_of(cursor, transaction, network, asked)
    except NotTheirs as reason:
        log.info("no payment of theirs", extra={"txid": stranger.txid, "cause": str(reason)})
        return None
    ids_paid = {each.withdrawal_id for each in template.outputs}
    paid = tuple(each for each in candidates if each.withdrawal_id in ids_paid)
    if not any(each.status in _UNDER_WAY for each in paid):
        return None
    return Shown(stranger, transaction, template, paid)


def adopt(desk: Desk, one: Shown) -> int:
    """Take a payment over as a payout, which the payer then confirms as its own; its number.

    Raises ``CoinsTaken`` where another payout holds one of its coins, and ``ClaimsTaken`` where a
    withdrawal of it is in another payout: nothing is changed then.
    """
    template, transaction = one.template, one.transaction
    with desk.work("adopt") as cursor:
        payout_id = store.insert_payout(
            cursor, PayoutKind.WITHDRAWALS, told=max(each.retold for each in one.paid)
        )
        _put_version(cursor, payout_id, 1, template, transaction)
        store.advance(cursor, payout_id, PayoutStatus.SIGNED, PayoutStatus.BROADCAST)
        hold(cursor, payout_id, sorted(template.outpoints))
        adopt_claims(cursor, payout_id, [each.withdrawal_id for each in one.paid])
        store.stage(
            cursor,
            [orders.broadcast(each, transaction.txid) for each in payees(cursor, payout_id)],
        )
    log.info("adopted", extra={"payout": payout_id, "txid": transaction.txid})
    return payout_id


def _put_version(
    cursor: Cursor, payout_id: int, version: int, template: Template, transaction: Transaction
) -> None:
    store.insert_version(cursor, payout_id, version, templates.write(template), template.fee)
    store.store_signed(
        cursor,
        payout_id,
        version,
        transaction.serialize(),
        transaction.txid,
        transaction.outputs_hash,
    )


# ---------------------------------------------------------------------- versions that were lost


class Recognition:
    """Knows versions of open payouts again that were signed and are in no table: after a backup."""

    def __init__(self) -> None:
        #: Looked at, and no version.
        self._strange: set[tuple[int, str]] = set()

    def look(self, office: Office) -> frozenset[int]:
        """Take over what is a version; payouts of which it cannot be told yet, the node being away.

        Those must not fail: what spends their coins may be what pays them.
        """
        with office.work("look for rivals") as cursor:
            found = stranded.rivals(cursor)
        unread = set()
        for payout_id, rival in found:
            if (payout_id, rival.txid) in self._strange:
                continue
            try:
                transaction = read(office.node, rival)
            except NodeFault as fault:
                office.node_fault = f"node is away: {fault}"
                unread.add(payout_id)
                continue
            if not _recognise(office, payout_id, transaction):
                self._strange.add((payout_id, rival.txid))
        return frozenset(unread)


def _recognise(office: Office, payout_id: int, transaction: Transaction) -> bool:
    """Store a version if the transaction is one: it pays all payees of the payout and nobody
    else."""
    with office.work("recognise") as cursor:
        found = [each for each in store.open_payouts(cursor) if each.id == payout_id]
        if not found:
            return False
        asked = _asked_of(cursor, found[0])
        try:
            template = template_of(cursor, transaction, office.limits.network, asked)
        except NotTheirs:
            return False
        if len(template.payees) != len(asked):
            return False
        versions = store.versions(cursor, [payout_id])[payout_id]
        _put_version(cursor, payout_id, versions[-1].version + 1, template, transaction)
        known = {outpoint for v in versions for outpoint in templates.read(v.template).outpoints}
        hold(cursor, payout_id, sorted(template.outpoints - known))
    log.warning("a lost version", extra={"payout": payout_id, "txid": transaction.txid})
    return True


def _asked_of(cursor: Cursor, payout: Payout) -> list[Asked]:
    if payout.target_address is not None:
        return [Asked(None, payout.target_address, None)]
    return [
        Asked(each.withdrawal_id, each.destination_address, each.amount)
        for each in payees(cursor, payout.id)
    ]
