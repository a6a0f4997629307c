"""Real payers, killed as by ``kill -9`` at random steps: each withdrawal is paid once all the same.

Broker, database, node, watcher and worker are real; only the payer dies.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from schemas.addresses import NETWORKS, encode_address
from schemas.amounts import KOINU_PER_DOGE
from schemas.settings import Settings
from streams.doctor import examine
from tests.conftest import Database
from tests.crash.wallet import bare_environment
from tests.streams.payer.plant import PATIENCE_SECONDS, Asked, Plant, plant_on
from tests.support.eventually import eventually
from tests.support.nodes import OurNode, our_node
from tests.support.running import environment_of

__all__ = ["our_node"]

ROOT: Final = Path(__file__).parent.parent.parent.parent
KILLS: Final = 30
SEED: Final = 20_261_124
#: A payment takes about fifty steps until it is sent, and some in each round after that.
STEPS_MAX: Final = 70


class Victims:
    """Starts payers, one after the other."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def start(self, fuse: int) -> int:
        """Start one that dies at that step, or never; its pid."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{fuse}\n")
        self._process.stdin.flush()
        return self._next()

    def ended(self) -> int:
        """Wait for its end; the exit code, negative after a signal."""
        return self._next()

    def _next(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())


@contextmanager
def _victims(settings: Settings, log: Path) -> Iterator[Victims]:
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.streams.payer.victim"],
            cwd=ROOT,
            env=bare_environment() | environment_of(settings),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
        try:
            yield Victims(process)
        finally:
            # The payer too, which would keep the pipe open.
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def _is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def _upset(plant: Plant, chance: random.Random) -> None:
    """A block, or now and then others in place of the last ones."""
    if not plant.is_followed():
        return
    if chance.random() < 0.15:
        plant.node.reorganise(chance.randint(1, 5), empty=chance.random() < 0.7)
    else:
        plant.node.mine()


def _ask(plant: Plant, chance: random.Random, number: int) -> Asked:
    version = NETWORKS["regtest"].p2pkh
    address = encode_address(version, (2**100 + number).to_bytes(20, "big"))
    amount = chance.randint(10 * KOINU_PER_DOGE, 25 * KOINU_PER_DOGE)
    return plant.ask(amount, address, cancel=chance.random() < 0.2)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_thirty_payers_that_are_killed_pay_each_withdrawal_once(
    settings: Settings, database: Database, our_node: OurNode, tmp_path: Path
) -> None:
    chance = random.Random(SEED)
    log = tmp_path / "payers.log"
    asked: list[Asked] = []
    with plant_on(settings, database, our_node) as plant, _victims(plant.settings, log) as victims:
        plant.fund([400, 300, 200, 100, 100, 100])
        for number in range(KILLS):
            asked.append(_ask(plant, chance, len(asked)))
            pid = victims.start(chance.randint(1, STEPS_MAX))

            def dead(pid: int = pid) -> bool:
                _upset(plant, chance)
                # A payer with nothing to do comes to no step, and so never to its last one.
                if not plant.left():
                    asked.append(_ask(plant, chance, len(asked)))
                return _is_gone(pid)

            try:
                eventually(dead, f"payer {number} dies", PATIENCE_SECONDS)
            except AssertionError as error:
                raise AssertionError(f"{plant.left()}\n{log.read_text()[-3000:]}") from error
            assert victims.ended() == -9, log.read_text()[-3000:]
        last = victims.start(0)

        def settled() -> bool:
            plant.mine()
            return not plant.left()

        try:
            eventually(settled, "everything is paid and deep", PATIENCE_SECONDS)
        except AssertionError as error:
            raise AssertionError(f"{plant.left()}\n{log.read_text()[-3000:]}") from error
        os.kill(last, signal.SIGTERM)
        assert victims.ended() == 0, log.read_text()[-3000:]
        eventually(plant.is_followed, "the watcher is at the tip")
        _hold(plant, asked)
    places = Counter(
        line.partition(": ")[2] for line in log.read_text().splitlines() if "dies at" in line
    )
    assert places.total() == KILLS
    print(f"\n{KILLS} kills, {len(asked)} withdrawals, seed {SEED}")
    print("\n".join(f"{place:32}{count:>4}" for place, count in sorted(places.items())))


def _hold(plant: Plant, asked: list[Asked]) -> None:
    """Paid on chain is debited in the ledger, once; and the books close to the koinu."""
    paid = plant.paid_on_chain()
    confirmed = 0
    for each in asked:
        status = plant.status(each)
        assert status in ("CONFIRMED", "FAILED"), each
        assert paid.get(each.address, []) == ([each.amount] if status == "CONFIRMED" else []), each
        confirmed += each.amount if status == "CONFIRMED" else 0
    debited = plant.value(
        "SELECT coalesce(sum(credit) - sum(debit), 0)::bigint FROM entries"
        " WHERE account = 'chain' AND reference_type = 'withdrawal'"
    )
    assert debited == confirmed > 0
    coins = plant.value(
        "SELECT coalesce(sum(amount), 0)::bigint FROM coins c WHERE height IS NOT NULL"
        " AND NOT EXISTS (SELECT FROM spends x WHERE x.txid = c.txid AND x.vout = c.vout)"
    )
    held = plant.value(
        "SELECT coalesce(sum(debit) - sum(credit), 0)::bigint FROM entries WHERE account = 'chain'"
    )
    assert coins == held
    refused = plant.rows(
        "SELECT o.type, k.code FROM payer_outbox o JOIN commands k ON k.user_id = o.user_id"
        " AND k.idempotency_key = o.idempotency_key AND k.outcome = 'rejected'"
        " WHERE o.type <> 'claim_withdrawal'"
    )
    assert not refused
    assert examine(plant.settings) == []
