"""Step 10: stored bytes go to the node, again and again, until they are in a block.

A time-out is unknown, never failed: it changes nothing but the record of the attempt. Nor does a
refusal fail anything, for a payment that was mined and whose outputs are spent is refused like one
that never can be: who spent its coins decides (``confirming``).
"""

from __future__ import annotations

import logging
from typing import Final

from db.treasury.claims import payees
from db.treasury.payouts import Version, advance, note_attempt, read_tip, stage, to_send, versions
from schemas.payouts import PayoutStatus
from streams.metrics import SENDS
from streams.node.answers import Answer, Reason, Verdict
from streams.payer import orders
from streams.payer.office import Office

log = logging.getLogger(__name__)

#: Refusals that the chain explains sooner or later; any other is a fault of ours.
_EXPECTED: Final = frozenset({Reason.INPUTS_GONE, Reason.CONFLICT, Reason.FEE_TOO_LOW})
_TAKEN: Final = frozenset({Verdict.ACCEPTED, Verdict.ALREADY_THERE})


def send(office: Office) -> int:
    """Send what is due; how many versions were sent."""
    with office.work("look for what to send") as cursor:
        tip = read_tip(cursor)
        due = to_send(cursor, "" if tip is None else tip.hash, office.limits.rebroadcast_seconds)
        all_versions = versions(cursor, due)
    sent = 0
    for payout_id in due:
        # The newest first; an older one only where the node will not have the newer.
        for version in reversed(all_versions[payout_id]):
            if version.raw is None:
                continue
            sent += 1
            if _send_one(office, version, "" if tip is None else tip.hash):
                break
    return sent


def _send_one(office: Office, version: Version, tip_hash: str) -> bool:
    """Send one version; False if the node refused it."""
    assert version.raw is not None and version.txid is not None
    office.step("send")
    answer = office.node.send(version.raw)
    office.step("sent")
    with office.work("note the answer") as cursor:
        note_attempt(cursor, version.payout_id, version.version, words_of(answer), tip_hash)
        if answer.verdict in _TAKEN:
            advance(cursor, version.payout_id, PayoutStatus.SIGNED, PayoutStatus.BROADCAST)
            stage(
                cursor,
                [orders.broadcast(p, version.txid) for p in payees(cursor, version.payout_id)],
            )
    unknown = answer.verdict is Verdict.UNKNOWN
    office.node_fault = f"node is away: {answer.detail}" if unknown else None
    SENDS.labels(answer.verdict.value).inc()
    told = {"payout": version.payout_id, "txid": version.txid, "answer": words_of(answer)}
    log.info("sent", extra=told)
    subject = f"payout {version.payout_id}"
    if answer.verdict is Verdict.REFUSED and answer.reason not in _EXPECTED:
        office.alarm(
            "broadcast-refused",
            subject,
            f"The node refuses transaction {version.txid} of {subject}: {words_of(answer)}",
        )
    return answer.verdict is not Verdict.REFUSED


def words_of(answer: Answer) -> str:
    """An answer as it is kept: verdict, reason and the node's own words."""
    reason = f" ({answer.reason.value})" if answer.reason else ""
    return f"{answer.verdict.value}{reason}: {answer.detail}"[:500]
