"""From a block to a user's balance: the real topic, a real worker, and real kills between them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from db.engine import connect
from schemas.amounts import KOINU_PER_DOGE, Koinu
from schemas.commands import AssignAddress, LockFunds
from schemas.settings import Settings
from schemas.topics import CommandTopic
from streams.kafka.admin import create_topics
from streams.kafka.groups import Group
from streams.watcher.follower import Watcher
from streams.worker.worker import Worker
from tests.conftest import Database
from tests.crash.wallet import bare_environment
from tests.streams.watcher.lookout import Lookout, running
from tests.support.commands import wire
from tests.support.eventually import eventually
from tests.support.nodes import OurNode
from tests.support.played import address_in
from tests.support.running import environment_of, worker_on
from tests.support.station import Proof, read_all, send
from tests.support.story import ANN

pytestmark = pytest.mark.timeout(300)

ROOT = Path(__file__).parent.parent.parent.parent
DOGE = KOINU_PER_DOGE


@pytest.fixture
def lookout(settings: Settings, database: Database, our_node: OurNode) -> Iterator[Lookout]:
    """Over our own node, with a broker."""
    create_topics(settings)
    made = Lookout(settings, database, our_node)
    yield made
    made.close()


@pytest.fixture
def worker(lookout: Lookout) -> Iterator[Worker]:
    with worker_on(lookout.settings) as made:
        yield made


@pytest.fixture
def watcher(lookout: Lookout) -> Iterator[Watcher]:
    """With its own relay and alarms."""
    made = Watcher(lookout.settings, genesis_hash=lookout.node.genesis)
    with running(made):
        yield made


def _wallet(lookout: Lookout) -> dict[str, Any]:
    names = ("available", "bids", "shortfall", "frozen")
    with connect(lookout.database.api_url, application_name="test") as connection:
        row = connection.execute(
            "SELECT available, bids, shortfall, shortfall > 0 FROM wallets WHERE user_id = %s",
            (ANN,),
        ).fetchone()
    return {} if row is None else dict(zip(names, row, strict=True))


def _address(lookout: Lookout) -> str:
    send(lookout.settings, [wire(AssignAddress(), user=ANN)])
    with connect(lookout.database.api_url, application_name="test", autocommit=True) as connection:
        query = "SELECT FROM deposit_addresses WHERE user_id = %s"
        eventually(lambda: connection.execute(query, (ANN,)).fetchone() is not None, "an address")
    return address_in(lookout.database, ANN)


def test_a_deposit_becomes_a_balance_a_reorganisation_a_debt_and_the_coin_pays_it(
    lookout: Lookout, worker: Worker, watcher: Watcher
) -> None:
    node = lookout.node
    address = _address(lookout)
    node.mine(node.maturity + 10)
    node.fund(address, 50 * DOGE)
    node.mine(2)
    eventually(lambda: _wallet(lookout)["available"] == 50 * DOGE, "the deposit is credited")
    lock = LockFunds(amount=Koinu(30 * DOGE), reference_type="auction", reference_id="1")
    send(lookout.settings, [wire(lock, user=ANN)])
    eventually(lambda: _wallet(lookout)["bids"] == 30 * DOGE, "a bid is locked")
    node.reorganise(2, empty=True)
    owing = {"available": 0, "bids": 30 * DOGE, "shortfall": 30 * DOGE, "frozen": True}
    eventually(lambda: _wallet(lookout) == owing, "what was bid is owed, and the wallet frozen")
    node.mine(3)
    whole = {"available": 20 * DOGE, "bids": 30 * DOGE, "shortfall": 0, "frozen": False}
    eventually(lambda: _wallet(lookout) == whole, "the debt is paid by the coin that came back")
    _all_accepted(lookout)
    eventually(lambda: not _unsent(lookout), "everything is relayed")


def _all_accepted(lookout: Lookout) -> None:
    """Each command of the watcher was applied, once, and refused by nobody."""
    with connect(lookout.database.owner_url, application_name="test") as connection:
        rows = connection.execute(
            "SELECT k.outcome::text, count(*) FROM watcher_outbox o LEFT JOIN commands k"
            " ON k.user_id = o.user_id AND k.idempotency_key = o.idempotency_key"
            " AND k.outcome <> 'replayed' GROUP BY 1"
        ).fetchall()
    assert [outcome for outcome, _ in rows] == ["accepted"]


def _unsent(lookout: Lookout) -> int:
    count = lookout.rows("SELECT count(*) FROM watcher_outbox WHERE sent_at IS NULL")[0][0]
    return int(count)


def _undecided(lookout: Lookout) -> int:
    with connect(lookout.database.owner_url, application_name="test") as connection:
        row = connection.execute(
            "SELECT count(*) FROM watcher_outbox o WHERE NOT EXISTS (SELECT FROM commands k"
            " WHERE k.user_id = o.user_id AND k.idempotency_key = o.idempotency_key)"
        ).fetchone()
    assert row is not None
    return int(row[0])


STEPS = [
    ("coins-placed", 3),
    ("receipts-placed", 3),
    ("before-commit", 4),
    ("relayed", 1),
    ("delivered", 1),
    ("delivered", 2),
    ("unplaced", 1),
    ("before-undo-commit", 2),
]


@pytest.mark.slow
@pytest.mark.parametrize(("step", "times"), STEPS)
def test_a_watcher_that_is_killed_says_everything_and_counts_nothing_twice(
    lookout: Lookout, worker: Worker, tmp_path: Path, step: str, times: int
) -> None:
    node = lookout.node
    address = _address(lookout)
    node.mine(node.maturity + 10)
    birthday = node.call("getblockcount")
    settings = msgspec.structs.replace(lookout.settings, birthday_height=birthday)
    node.fund(address, 5 * DOGE)
    node.mine(3)
    if step in ("unplaced", "before-undo-commit"):
        made = Watcher(settings, genesis_hash=node.genesis)
        with running(made):
            eventually(lambda: _wallet(lookout)["available"] == 5 * DOGE, "it is credited")
            eventually(lambda: not _unsent(lookout), "everything is relayed")
        node.reorganise(3)
        node.mine(2)
    _run_victim(settings, node.genesis, step, times, tmp_path)
    made = Watcher(settings, genesis_hash=node.genesis)
    with running(made):
        tip = (node.call("getblockcount"), node.call("getbestblockhash"))
        eventually(lambda: lookout.rows("SELECT 1 FROM blocks") and lookout.tip() == tip, "tip")
        eventually(lambda: not _unsent(lookout), "everything is relayed")
        # What was credited before may be about to be taken back, and credited again.
        eventually(lambda: not _undecided(lookout), "everything is decided")
        assert _wallet(lookout)["available"] == 5 * DOGE
    heights = lookout.rows("SELECT min(height), max(height), count(*) FROM blocks WHERE active")
    assert heights == [(birthday, tip[0], tip[0] - birthday + 1)]
    _all_accepted(lookout)
    worker.stop()
    group = Group(settings)
    eventually(lambda: group.members() == 0, "the worker has published all, and left")
    Proof(settings).hold()


def _run_victim(settings: Settings, genesis: str, step: str, times: int, folder: Path) -> None:
    argv = [sys.executable, "-m", "tests.streams.watcher.victim", step, str(times), genesis]
    with (folder / "victim.log").open("wb") as output:
        process = subprocess.Popen(
            argv,
            cwd=ROOT,
            env=bare_environment() | environment_of(settings),
            stdout=output,
            stderr=output,
        )
        try:
            assert process.wait(timeout=60) == -signal.SIGKILL, (folder / "victim.log").read_text()
        finally:
            process.kill()


def test_the_command_line_follows_says_that_it_is_ready_and_ends_when_told(
    lookout: Lookout, tmp_path: Path
) -> None:
    node = lookout.node
    node.mine(3)
    argv = [sys.executable, "-m", "api.cli", "watcher", "--genesis", node.genesis]
    log = tmp_path / "watcher.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            argv,
            cwd=ROOT,
            env=bare_environment() | environment_of(lookout.settings),
            stdout=output,
            stderr=output,
        )
        try:
            tip = lookout.node_tip()
            eventually(
                lambda: lookout.rows("SELECT 1 FROM blocks") and lookout.tip() == tip, "tip", 60.0
            )
            os.kill(process.pid, signal.SIGTERM)
            assert process.wait(timeout=30) == 0, log.read_text()
        finally:
            process.kill()
    assert "probe on http://" in log.read_text()


def test_each_users_commands_reach_the_topic_in_their_order(lookout: Lookout) -> None:
    node = lookout.node
    addresses = [lookout.assign(number) for number in range(6)]
    node.mine(node.maturity + 10)
    for address in addresses:
        node.fund(address, 5 * DOGE)
    node.mine(3)
    lookout.settle(lookout.watcher())
    lookout.watchers[0].close()
    with running(Watcher(lookout.settings, genesis_hash=node.genesis)):
        eventually(lambda: not _unsent(lookout), "everything is relayed")
    told: dict[str, list[str]] = {}
    topic = read_all(lookout.settings, CommandTopic.TREASURY)["wallet.commands.treasury"]
    for message in sorted(topic, key=lambda m: (m.partition() or 0, m.offset() or 0)):
        envelope = msgspec.json.decode(message.value() or b"")
        assert (message.key() or b"").decode() == envelope["user_id"]
        assert envelope["issuer"] == "watcher"
        told.setdefault(envelope["user_id"], []).append(envelope["type"])
    assert len(told) == 6
    assert set(map(tuple, told.values())) == {("detect_deposit", "process_deposit")}
