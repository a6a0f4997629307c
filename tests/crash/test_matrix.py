"""A sample of the crash matrix, drawn by a seed; ``make proof``, ``make crash`` play all of it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final

import pytest

from tests.conftest import Databases
from tests.crash.matrix import CELLS, Aftermath, play
from tests.crash.servers import Servers, own_servers
from tests.crash.upheavals import RESTARTS, UPHEAVALS
from tests.crash.wallet import Wallet

pytestmark = [pytest.mark.crash, pytest.mark.slow, pytest.mark.timeout(300)]

SEED: Final = 20261124
_chance: Final = random.Random(SEED)
#: The one that needs most of others always, then one by chance.
SAMPLE: Final = [("entering", Aftermath.THAW), *_chance.sample(CELLS, 1)]
SAMPLE_OF_UPHEAVALS: Final = _chance.sample(sorted(UPHEAVALS), 1)


@pytest.fixture
def wallet(databases: Databases, kafka_server: str) -> Iterator[Wallet]:
    """A wallet on the servers of all tests."""
    print(f"seed {SEED}")
    with Wallet(databases, kafka_server, SEED) as made:
        yield made


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    """Servers that may be killed."""
    with own_servers() as made:
        yield made


@pytest.mark.parametrize(("step", "aftermath"), SAMPLE)
def test_whatever_a_worker_is_at_when_it_ends_each_command_is_applied_once(
    wallet: Wallet, step: str, aftermath: Aftermath
) -> None:
    play(wallet, step, aftermath, SEED)


@pytest.mark.parametrize("name", SAMPLE_OF_UPHEAVALS)
def test_whatever_befalls_the_log_is_borne_or_stops_it_with_an_alarm(
    wallet: Wallet, name: str
) -> None:
    UPHEAVALS[name](wallet, SEED)


@pytest.mark.proof
@pytest.mark.parametrize(("step", "aftermath"), CELLS)
def test_in_every_cell_of_the_matrix_each_command_is_applied_once(
    wallet: Wallet, step: str, aftermath: Aftermath
) -> None:
    play(wallet, step, aftermath, SEED)


@pytest.mark.proof
@pytest.mark.parametrize("name", UPHEAVALS)
def test_everything_that_befalls_the_log_is_borne_or_stops_it_with_an_alarm(
    wallet: Wallet, name: str
) -> None:
    UPHEAVALS[name](wallet, SEED)


@pytest.mark.parametrize("name", RESTARTS)
def test_a_server_that_dies_in_mid_load_loses_nothing(servers: Servers, name: str) -> None:
    with Wallet(servers.databases, servers.broker, SEED) as wallet:
        RESTARTS[name](wallet, servers, SEED, 1)


@pytest.mark.proof
@pytest.mark.parametrize("name", RESTARTS)
def test_a_server_that_dies_again_and_again_loses_nothing(servers: Servers, name: str) -> None:
    with Wallet(servers.databases, servers.broker, SEED) as wallet:
        RESTARTS[name](wallet, servers, SEED, 3)
