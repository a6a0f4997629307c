"""Seeded trouble, all of it: ten thousand runs more than each run of the tests plays."""

from __future__ import annotations

from typing import Final

import pytest

from tests.conftest import Databases
from tests.streams.payer.fuzz import SAMPLE, field_on, hold

FULL: Final = 10_000
PARTS: Final = 40


@pytest.mark.proof
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(PARTS))
def test_ten_thousand_seeds(databases: Databases, part: int) -> None:
    size = FULL // PARTS
    with field_on(databases) as field:
        hold(field, range(SAMPLE + part * size, SAMPLE + (part + 1) * size))
