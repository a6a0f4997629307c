"""A hundred thousand malformed records among good ones, on a real broker, by a real worker."""

from __future__ import annotations

from typing import Final

import pytest

from db.engine import connect
from schemas.settings import Settings
from streams.loadgen.pieces import Shares
from streams.loadgen.run import Game, Options
from tests.streams.loadgen.service import prepared, worker_on

_SHARES: Final = Shares(duplicates=0.02, overdrafts=0.02, malformed=0.42)
_RECORDS: Final = 250_000


@pytest.mark.proof
@pytest.mark.timeout(1200)
def test_each_malformed_record_is_a_dead_letter_with_its_reason_and_each_good_one_is_applied(
    settings: Settings,
) -> None:
    wallet = prepared(settings)
    with worker_on(wallet):
        options = Options(300, 4, "malformed", commands=_RECORDS, shares=_SHARES)
        report = Game(wallet, options).play()
    # The game knows of each record what must become of it, and of each dead letter its code.
    assert report.differences == []
    with connect(wallet.database_url, application_name="test") as connection:
        rows = connection.execute("SELECT count(*), count(DISTINCT code) FROM dead_letters")
        letters, codes = rows.fetchone() or (0, 0)
    assert letters > 100_000
    assert codes > 20
