"""An outage in words: is a server away, or does it answer that it cannot?"""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors

from streams.kafka.config import KafkaUnavailable
from streams.outages import in_words


@pytest.mark.parametrize(
    ("outage", "words"),
    [
        (KafkaUnavailable("no answer"), "broker is away: no answer"),
        (psycopg.OperationalError("refused:\n\tIs it\nrunning?"), "refused: Is it running?"),
        (psycopg.InterfaceError("the connection is closed"), "database is away: "),
        (errors.AdminShutdown("restarting"), "database is away: restarting"),
        (errors.CannotConnectNow("starting up"), "database is away: starting up"),
        (errors.IdleInTransactionSessionTimeout("ended"), "database is away: ended"),
        (errors.DiskFull("no space left"), "database cannot: no space left"),
        (errors.TooManyConnections("too many"), "database cannot: too many"),
        (errors.QueryCanceled("statement timeout"), "database cannot: statement timeout"),
        (errors.ReadOnlySqlTransaction("read-only"), "database cannot: read-only"),
    ],
)
def test_an_outage_says_who_it_is_and_what(outage: Exception, words: str) -> None:
    assert words in in_words(outage)
    assert "\n" not in in_words(outage)
