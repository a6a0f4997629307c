"""Random reorganisations: at each tip the books close against the chain, to the koinu."""

from __future__ import annotations

from collections import Counter
from typing import Final

import pytest

from tests.conftest import Databases
from tests.streams.watcher.upheaval import Upheaval, table

SAMPLE: Final = 12
FULL: Final = 400
PARTS: Final = 4
FULL_PARTS: Final = 20
ACTIONS: Final = 25


def _hold(databases: Databases, seeds: range) -> None:
    counts: Counter[str] = Counter()
    for seed in seeds:
        fresh = databases.fresh()
        upheaval = Upheaval(fresh, seed)
        try:
            upheaval.play(ACTIONS)
        finally:
            upheaval.close()
            databases.drop(fresh.name)
            databases.made.remove(fresh.name)
        counts += upheaval.counts
    print(f"\nseeds {seeds.start} to {seeds.stop - 1}\n{table(counts, len(seeds))}")
    # An upheaval that never comes proves nothing.
    for name in ("reversals", "malleated", "dropped", "spends", "creditings"):
        assert counts[name], f"no {name} in {seeds}"


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("part", range(PARTS))
def test_no_reorganisation_loses_or_makes_a_koinu(databases: Databases, part: int) -> None:
    size = SAMPLE // PARTS
    _hold(databases, range(part * size, (part + 1) * size))


@pytest.mark.proof
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(FULL_PARTS))
def test_four_hundred_seeds(databases: Databases, part: int) -> None:
    size = FULL // FULL_PARTS
    _hold(databases, range(SAMPLE + part * size, SAMPLE + (part + 1) * size))
