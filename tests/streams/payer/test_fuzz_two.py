"""Seeded trouble, part two: what is paid on chain is debited in the ledger, once."""

from __future__ import annotations

import pytest

from tests.conftest import Databases
from tests.streams.payer.fuzz import field_on, hold


@pytest.mark.slow
def test_no_trouble_pays_twice_or_loses_a_withdrawal(databases: Databases) -> None:
    with field_on(databases) as field:
        hold(field, range(70, 135))
