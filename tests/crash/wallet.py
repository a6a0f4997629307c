"""A wallet that things are done to, its worker processes, and the proof that it bore them."""

from __future__ import annotations

import gc
import json
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from types import TracebackType
from typing import Final

import msgspec
import psycopg

from db.audit.snapshot import snapshot
from db.ledger import rebuilding
from schemas.settings import Settings
from schemas.topics import TOPICS, topic_name
from streams import rebuild
from streams.doctor import examine
from streams.kafka.admin import Admin
from streams.kafka.config import KafkaUnavailable
from streams.kafka.groups import Group
from streams.local.process import LOOPBACK, free_port
from tests.conftest import Database, Databases
from tests.crash.traffic import Traffic
from tests.support.eventually import eventually
from tests.support.running import environment_of
from tests.support.station import Proof, alarms_of, prepared

ROOT: Final = Path(__file__).parent.parent.parent

_PATIENCE_SECONDS: Final = 60.0
_LOG_SHOWN: Final = 3_000
#: Small, so that there are several batches to come to grief in.
_BATCH_MAX: Final = 25


class Worker:
    """A worker process; ended when its block is left."""

    def __init__(self, settings: Settings, log: Path, *grief: str) -> None:
        self.port = free_port()
        own = msgspec.structs.replace(settings, worker_port=self.port)
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.crash.process", *(grief or ("never", "PAUSE", "0"))],
                cwd=ROOT,
                env={**bare_environment(), **environment_of(own)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
            )
        self.owner = f"/{self._process.pid}"

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
        self._process.communicate()

    def await_killed(self) -> None:
        """Wait until it has killed itself."""
        eventually(lambda: self._process.poll() is not None, "it is killed", _PATIENCE_SECONDS)
        assert self._process.returncode == -signal.SIGKILL, self._process.returncode

    def await_frozen(self) -> None:
        """Wait until it has stopped itself."""
        stat = Path(f"/proc/{self._process.pid}/stat")
        eventually(
            lambda: stat.read_text().rpartition(")")[2].split()[0] == "T",
            "it is frozen",
            _PATIENCE_SECONDS,
        )

    def thaw(self) -> None:
        """Let a frozen one go on."""
        self._process.send_signal(signal.SIGCONT)

    def await_paused(self) -> None:
        """Wait until it pauses at its step."""
        assert self._process.stdout is not None
        poll = select.poll()
        poll.register(self._process.stdout, select.POLLIN)
        assert poll.poll(_PATIENCE_SECONDS * 1000), "it does not pause"
        assert self._process.stdout.readline() == b"paused\n"

    def go_on(self) -> None:
        """Let a paused one go on."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()

    def fault(self) -> str:
        """What its readiness says; ``ok`` where all is well, nothing where nobody answers."""
        try:
            with urllib.request.urlopen(f"http://{LOOPBACK}:{self.port}/readyz", timeout=5) as ok:
                return str(json.load(ok)["status"])
        except urllib.error.HTTPError as answer:
            with answer:
                assert answer.code == 503
                return str(json.load(answer)["status"])
        except OSError:
            return ""

    def await_ready(self) -> None:
        """Wait until it applies commands."""
        eventually(lambda: self.fault() == "ok", "the worker is ready", _PATIENCE_SECONDS)

    def await_fault(self, words: str) -> None:
        """Wait until its readiness says this."""
        eventually(lambda: words in self.fault(), f"it is not ready: {words}", _PATIENCE_SECONDS)

    def drain(self) -> None:
        """SIGTERM: what is applied is published, then it ends."""
        self._process.send_signal(signal.SIGTERM)
        eventually(lambda: self._process.poll() is not None, "it has drained", _PATIENCE_SECONDS)
        assert self._process.returncode == 0, self._process.returncode


def bare_environment() -> dict[str, str]:
    """The environment without what a developer's shell says of a wallet."""
    return {key: value for key, value in os.environ.items() if not key.startswith("WALLET_")}


class Wallet:
    """One wallet, prepared, with money in it, and traffic to come."""

    def __init__(self, databases: Databases, broker: str, seed: int) -> None:
        self._databases = databases
        self._cleaning = ExitStack()
        self._home = Path(tempfile.mkdtemp(prefix="wallet-crash-"))
        self._cleaning.callback(shutil.rmtree, self._home, ignore_errors=True)
        self._log = self._home / "workers.log"
        self.database = self.fresh_database()
        prefix = f"c{secrets.token_hex(6)}."
        self.settings = prepared(
            Settings(
                database_url=self.database.owner_url,
                worker_database_url=self.database.worker_url,
                api_database_url=self.database.api_url,
                topic_prefix=prefix,
                group=f"{prefix}worker",
                partitions=4,
                batch_max=_BATCH_MAX,
                kafka={"bootstrap.servers": broker},
            )
        )
        self._cleaning.callback(self._delete_topics)
        self.traffic = Traffic(self.settings, seed)

    def _delete_topics(self) -> None:
        """Hundreds of wallets would be too much for one small broker."""
        names = [topic_name(self.settings, topic.name) for topic in TOPICS]
        with suppress(KafkaUnavailable):
            Admin(self.settings).delete_topics(names)

    def __enter__(self) -> Wallet:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, AssertionError) and self._log.exists():
            print(self._log.read_text()[-_LOG_SHOWN:], file=sys.stderr)
        self._cleaning.close()
        # A worker in a thread freezes all garbage that there is, with the clients in it.
        gc.unfreeze()
        gc.collect()

    def fresh_database(self) -> Database:
        """A migrated database, dropped with the wallet."""
        made = self._databases.fresh()
        self._cleaning.callback(self._databases.drop, made.name)
        return made

    def copy_database(self) -> Database:
        """A copy of the database as it is now; nobody may be connected to it."""
        name = f"test_{secrets.token_hex(6)}"
        eventually(lambda: self._copied(name), "nobody is connected, and the database is copied")
        self._cleaning.callback(self._databases.drop, name)
        return Database.on(self._databases.server, name)

    def _copied(self, name: str) -> bool:
        copy = f"CREATE DATABASE {name} OWNER wallet_owner TEMPLATE {self.database.name}"
        with psycopg.connect(self._databases.server, autocommit=True) as connection:
            try:
                connection.execute(copy)
            except psycopg.errors.ObjectInUse:
                return False
        return True

    def restore(self, database: Database) -> None:
        """Go on with another database, as after a restore from a backup."""
        self.database = database
        self.settings = msgspec.structs.replace(
            self.settings,
            database_url=database.owner_url,
            worker_database_url=database.worker_url,
            api_database_url=database.api_url,
        )
        self.traffic.settings = self.settings

    def worker(self, *grief: str) -> Worker:
        """A worker process; ``grief`` is step, action, and how often the step is passed before."""
        return Worker(self.settings, self._log, *grief)

    def await_owner(self, worker: Worker) -> None:
        """Wait until a worker has taken over a partition."""
        eventually(
            lambda: any((owner or "").endswith(worker.owner) for owner in self._owners()),
            "the worker has taken over",
            _PATIENCE_SECONDS,
        )

    def _owners(self) -> list[str | None]:
        with psycopg.connect(self.settings.api_database_url) as connection:
            return [row[0] for row in connection.execute("SELECT owner FROM partitions")]

    def await_nobody(self) -> None:
        """Wait until the group has no member left."""
        group = Group(self.settings)
        eventually(lambda: group.members() == 0, "the group is empty")

    def halted(self) -> dict[tuple[int, int], str]:
        """The partitions that are halted, and why."""
        with psycopg.connect(self.settings.api_database_url) as connection:
            rows = connection.execute(
                "SELECT topic, partition, halted FROM partitions WHERE halted IS NOT NULL"
            ).fetchall()
        return {(topic, partition): reason for topic, partition, reason in rows}

    def alarms(self) -> list[dict[str, str]]:
        """What operators were told."""
        return alarms_of(self.settings)

    def hold(self) -> None:
        """Fail unless each record came to what it should have, each event was seen once, the
        doctor finds nothing, and the log alone gives the same database again."""
        faults = self.traffic.faults()
        assert not faults, "\n".join(faults[:5])
        Proof(self.settings).hold()
        findings = examine(self.settings)
        assert not findings, "\n".join(map(str, findings[:5]))
        self._hold_rebuild()

    def _hold_rebuild(self) -> None:
        again = self.fresh_database()
        with (
            rebuilding.target(again.owner_url) as connection,
            closing(rebuild.Rebuild(self.settings, connection)) as replaying,
        ):
            replaying.run()
        with snapshot(self.database.worker_url) as ours, snapshot(again.owner_url) as theirs:
            for line in rebuild.compare(ours, theirs):
                assert line.same, f"rebuilt, {line.table} differs: {line.difference}"
