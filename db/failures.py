"""What went wrong in the database, by what is to be done about it."""

from __future__ import annotations

from typing import Final

import psycopg
from psycopg import errors

from db.ledger.writes import OutpointOfAnother

#: The server is away, restarting, or has ended our session: nothing was decided by that, and a
#: COMMIT without an answer may or may not have happened.
AWAY: Final = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    errors.IdleInTransactionSessionTimeout,
)
#: Another session holds a row for longer than any batch takes: perhaps a worker that froze.
LOCKED: Final = errors.LockNotAvailable
#: Rolled back by a rival, not by a fault: tried again from fresh reads.
RIVALRY: Final = (errors.SerializationFailure, errors.DeadlockDetected, errors.UniqueViolation)
#: A row that the database refuses: one command of the batch is guilty of it.
REFUSED: Final = (psycopg.IntegrityError, psycopg.DataError, OutpointOfAnother)
