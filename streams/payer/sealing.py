"""Step 9: sign what is stored, and store the bytes and the txid before anybody sees them.

The signature is by RFC 6979: after a crash the same template gives the same bytes again.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence

from db.engine import Cursor
from db.treasury import payouts as store
from db.treasury.claims import Payee, payees, standings
from db.treasury.payouts import Version
from db.treasury.purse import held
from processors.dogecoin.building import Purpose, Template
from processors.dogecoin.checking import TemplateUnsound
from schemas.payouts import PayoutKind
from streams.payer import templates
from streams.payer.judging import Outpoint
from streams.payer.office import Office

log = logging.getLogger(__name__)


def seal(office: Office) -> int:
    """Sign what is not; how many versions were."""
    with office.work("look for what to sign") as cursor:
        open_payouts = {payout.id: payout for payout in store.open_payouts(cursor)}
        all_versions = store.versions(cursor, list(open_payouts))
        waiting = [found[-1] for found in all_versions.values() if found[-1].raw is None]
        paid = {version.payout_id: payees(cursor, version.payout_id) for version in waiting}
        coins = held(cursor, [version.payout_id for version in waiting])
        given_up = {
            version.payout_id: fault
            for version in waiting
            if (fault := _fault_of(office, cursor, version, all_versions[version.payout_id]))
        }
    signed = 0
    for version in waiting:
        if version.payout_id in given_up:
            _set_aside(office, version, all_versions[version.payout_id], given_up)
            continue
        reserved = {(coin.txid, coin.vout) for coin in coins.get(version.payout_id, [])}
        kind = open_payouts[version.payout_id].kind
        signed += _seal(office, version, kind, paid[version.payout_id], reserved)
    return signed


def _fault_of(
    office: Office, cursor: Cursor, version: Version, versions: Sequence[Version]
) -> str | None:
    """Why a payout is not to be paid any more, None if it is: the ledger's own rows say it.

    An operator may have failed a withdrawal after its coins were reserved. Of one that was sent
    before, all but that is fine. And the account may have been rotated since.
    """
    first = all(each.raw is None for each in versions)
    if first and office.is_former(cursor, templates.read(version.template)):
        return "its change would go to a former account"
    for withdrawal_id, status in standings(cursor, version.payout_id):
        if status == "FAILED" or (first and status != "PROCESSING"):
            return f"withdrawal {withdrawal_id} is {status}"
    return None


def _set_aside(
    office: Office, version: Version, versions: Sequence[Version], faults: Mapping[int, str]
) -> None:
    """Give up what was never signed, so that its other withdrawals are paid by another payout."""
    fault = faults[version.payout_id]
    subject = f"payout {version.payout_id}"
    if all(each.raw is None for each in versions):
        with office.work("abandon") as cursor:
            store.abandon(cursor, version.payout_id, fault)
        log.warning("abandoned", extra={"payout": version.payout_id, "cause": fault})
        return
    office.alarm(
        "not-signed",
        subject,
        f"Version {version.version} of {subject} is not signed, since {fault}; an earlier one may "
        "be out, and may pay it all the same.",
    )


def _seal(
    office: Office,
    version: Version,
    kind: PayoutKind,
    paid: Sequence[Payee],
    reserved: Collection[Outpoint],
) -> bool:
    template = templates.read(version.template)
    subject = f"payout {version.payout_id}"
    try:
        require_agreement(template, kind, paid, reserved)
        transaction = office.signer.sign(template)
    except TemplateUnsound as refusal:
        office.alarm("not-signed", subject, f"{subject} is not signed: {refusal}")
        return False
    office.step("signed")
    with office.work("store what is signed") as cursor:
        store.store_signed(
            cursor,
            version.payout_id,
            version.version,
            transaction.serialize(),
            transaction.txid,
            transaction.outputs_hash,
        )
    told = {"payout": version.payout_id, "version": version.version, "txid": transaction.txid}
    log.info("signed", extra=told)
    return True


def require_agreement(
    template: Template,
    kind: PayoutKind,
    paid: Sequence[Payee],
    reserved: Collection[Outpoint],
) -> None:
    """Raise ``TemplateUnsound`` unless it pays each withdrawal once, from reserved coins alone.

    The last look before a key is used: whatever wrote the template, this is what it may say.
    """
    wanted = sorted((p.withdrawal_id, p.destination_address, p.amount) for p in paid)
    said = sorted(
        (o.withdrawal_id or "", o.address, o.amount)
        for o in template.outputs
        if o.purpose is Purpose.WITHDRAWAL
    )
    if said != wanted:
        raise TemplateUnsound("it does not pay each of its withdrawals once.")
    if not template.outpoints <= set(reserved):
        raise TemplateUnsound("it spends a coin that is not reserved for it.")
    cold = any(o.purpose is Purpose.COLD for o in template.outputs)
    if cold != (kind is PayoutKind.SWEEP):
        raise TemplateUnsound("coins go to cold storage by a sweep alone.")
