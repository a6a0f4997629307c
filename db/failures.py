"""What went wrong in the database, by what is to be done about it."""

from __future__ import annotations

from typing import Final

import psycopg
from psycopg import errors

from db.ledger.writes import OutpointOfAnother

#: The server is away, restarting, has ended our session, is full, or stands by for another since a
#: failover: nothing was decided by that, and a COMMIT without an answer may or may not have
#: happened. A new session, later, may find it mended.
AWAY: Final = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    errors.IdleInTransactionSessionTimeout,
    errors.ReadOnlySqlTransaction,
)
#: SQLSTATEs (by their beginnings) of a server that ended the session or took none.
_GONE: Final = ("08", "57P", "25P03")
#: Another session holds a row for longer than any batch takes: perhaps a worker that froze.
LOCKED: Final = errors.LockNotAvailable
#: Rolled back by a rival, not by a fault: tried again from fresh reads.
RIVALRY: Final = (errors.SerializationFailure, errors.DeadlockDetected, errors.UniqueViolation)
#: A row that the database refuses: one command of the batch is guilty of it.
REFUSED: Final = (psycopg.IntegrityError, psycopg.DataError, OutpointOfAnother)


def has_answered(error: BaseException) -> bool:
    """Whether the server is there and says itself what it cannot (its disk is full, for one)."""
    sqlstate = getattr(error, "sqlstate", None)
    return sqlstate is not None and not sqlstate.startswith(_GONE)
