"""Words of the payer's own book: what a transaction of ours is for, and how far it has come."""

from __future__ import annotations

from schemas.words import Word


class PayoutKind(Word):
    """What a payout is for."""

    #: Pays users' withdrawals.
    WITHDRAWALS = "withdrawals"
    #: Joins many small coins into one of our own.
    CONSOLIDATION = "consolidation"
    #: Moves coins to cold storage.
    SWEEP = "sweep"


class PayoutStatus(Word):
    """How far a payout has come; it goes forward only, but for a reorganisation."""

    #: Its coins are reserved and its first template is stored; nothing is signed.
    RESERVED = "reserved"
    #: A signed version is stored; from here on a broadcast may have happened.
    SIGNED = "signed"
    #: A node has taken a version; an answer that is unknown leaves it signed.
    BROADCAST = "broadcast"
    #: Its coins are spent, by one of its versions, deeply enough.
    CONFIRMED = "confirmed"
    #: None of its versions can ever confirm; its coins that still live are free again.
    FAILED = "failed"
