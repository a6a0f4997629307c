"""The tables as SQLAlchemy Core, each constraint named, to hold migrations against.

One module for each process that writes: ``ledger`` the worker's, ``chain`` the watcher's,
``payouts`` the payer's. Nobody else writes them.
"""

from __future__ import annotations

from typing import Final

from db.tables.chain import CHAIN
from db.tables.columns import metadata
from db.tables.ledger import APPEND_ONLY
from db.tables.payouts import PAYOUTS

__all__ = ["APPEND_ONLY", "CHAIN", "PAYOUTS", "REVISION", "metadata"]

#: The migration that these tables are; a test holds it to the newest one.
REVISION: Final = "0007"
