"""Pieces of queries: the topic of orders, which are under way, and what templates say, in rows."""

from __future__ import annotations

from typing import Final

from schemas.topics import CommandTopic

#: The treasury's topic, where watcher and payer speak.
TREASURY: Final = int(CommandTopic.TREASURY)


def under_way(outbox: str, user: str, key: str) -> str:
    """Whether an order stands in an outbox that the ledger has not decided on; all in SQL."""
    return f"""EXISTS (
        SELECT FROM {outbox}_outbox o WHERE o.user_id = {user} AND o.idempotency_key = {key}
           AND NOT EXISTS (SELECT FROM commands k WHERE k.user_id = o.user_id
                              AND k.topic = {TREASURY} AND k.idempotency_key = o.idempotency_key
                              AND k.outcome IN ('accepted', 'rejected')))"""


#: Outputs of every version's template that are not change, in rows.
OUTPUTS: Final = """
    SELECT v.payout_id, v.version, o->>'purpose' AS purpose, (o->>'amount')::bigint AS amount,
           o->>'address' AS address, o->>'withdrawal_id' AS withdrawal_id
      FROM payout_versions v CROSS JOIN LATERAL json_array_elements(v.template->'outputs') o
"""

INPUTS: Final = """
    SELECT v.payout_id, v.version, i->>'txid' AS txid, (i->>'vout')::int AS vout,
           (i->>'amount')::bigint AS amount
      FROM payout_versions v CROSS JOIN LATERAL json_array_elements(v.template->'inputs') i
"""
