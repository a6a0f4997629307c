"""Where a run takes place: durable servers of its own, and on them an empty wallet for each run."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
from psycopg import sql

from bench.kafka import Gate, Marks, Place
from bench.plans import PARTITIONS, Plan, outcomes_of
from db import migrate
from db.engine import connect
from db.ledger import rules
from processors.seed import first_rules, keyring_of
from schemas.ids import slice_base, text_of
from schemas.settings import Settings
from schemas.topics import TOPICS, CommandTopic, topic_name
from streams.kafka.admin import Admin
from streams.kafka.config import partition_of
from streams.kafka.produce import Delivery, Producer
from streams.loadgen.pieces import Player
from streams.loadgen.plan import PlannedCommand
from streams.local import keys, roles, stack
from streams.local.process import free_port, recorded, wait_until
from streams.local.progress import Progress
from streams.local.supervisor import Service

PASSWORD: Final = "bench"
JWT_SECRET: Final = "a secret of the bench, long enough for HS256"

#: So often is asked how far the group has come; a run may look that much longer than it was.
_GLANCE_SECONDS: Final = 0.025
#: The same while there is much to go: each look costs the broker as much as a dozen commands.
_SELDOM_SECONDS: Final = 0.25
_MUCH: Final = 20_000
#: No record published for so long means that none will be.
_STALL_SECONDS: Final = 60.0
_SHARED_OUT_SECONDS: Final = 60.0

#: Told how far something is, in words.
Told = Callable[[str], None]


class BenchFailed(Exception):
    """A run did not do what was asked of it, so that its time says nothing."""


@dataclass(frozen=True, kw_only=True)
class Servers:
    """A database, by its superuser's URL, and a broker that run; and where logs go."""

    database: str
    broker: str
    home: Path
    #: Of the three roles, which a server keeps for all its databases.
    password: str = PASSWORD


@contextmanager
def own_servers(progress: Progress) -> Iterator[Servers]:
    """Durable servers under a temporary folder; of a run that fails, the logs alone are left."""
    # Not under /tmp, which is memory on many machines; open, since root's database is another's.
    home = Path(tempfile.mkdtemp(prefix="wallet-bench-", dir="/var/tmp"))
    home.chmod(0o755)
    database = stack.provide_postgres(home, port=free_port(), password=PASSWORD)
    broker = stack.provide_kafka(home, port=free_port(), progress=progress)
    kept = False
    try:
        for server in (database, broker):
            with progress.step(f"starting the {server.name}: {server.origin}"):
                server.start()
        yield Servers(database=database.address, broker=broker.address, home=home)
    except Exception:
        kept = True
        raise
    finally:
        broker.stop()
        database.stop()
        for data in ("postgres", "kafka") if kept else (".",):
            shutil.rmtree(home / data, ignore_errors=True)


class Stage:
    """An empty wallet: a database, topics and a group of its own."""

    def __init__(self, servers: Servers, name: str, account_xpub: str) -> None:
        self.name = name
        self.home = servers.home
        self._superuser = servers.database
        self._password = servers.password
        self._database = f"bench_{name}"
        roles.bootstrap(
            servers.database, self._database, dict.fromkeys(roles.ROLES, self._password)
        )
        self.settings = Settings(
            home=str(servers.home),
            database_url=self._url(roles.OWNER),
            worker_database_url=self._url(roles.WORKER),
            api_database_url=self._url(roles.API),
            topic_prefix=f"{name}.",
            group=f"{name}-worker",
            partitions=PARTITIONS,
            account_xpub=account_xpub,
            jwt_secret=JWT_SECRET,
            api_rate_per_minute=0,
            # A late answer is to be measured, not given up.
            api_wait_seconds=25.0,
            kafka={"bootstrap.servers": servers.broker},
        )
        migrate.upgrade(self.settings.database_url)
        with connect(self.settings.database_url, application_name="wallet-bench") as connection:
            rules.seed_rules(connection, first_rules(self.settings, keyring_of(self.settings)))
        self._admin = Admin(self.settings)
        self._admin.create_topics()
        self._marks = Marks(self.settings)
        self._expected: Counter[str] = Counter()
        self._addressed: set[str] = set()

    def drop(self) -> None:
        """Remove database and topics, so that the next run has the disk and the caches."""
        self._marks.close()
        self._admin.delete_topics([topic_name(self.settings, topic.name) for topic in TOPICS])
        with connect(self._superuser, application_name="wallet-bench", autocommit=True) as server:
            name = sql.Identifier(self._database)
            server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))

    def checkpoint(self) -> None:
        """Write out what earlier work left dirty, so that this run does not pay for it."""
        with connect(
            self._superuser, application_name="wallet-bench", autocommit=True, statement_seconds=0
        ) as connection:
            connection.execute("CHECKPOINT")

    # ------------------------------------------------------------------ processes

    @contextmanager
    def workers(self, count: int) -> Iterator[list[psutil.Process]]:
        """So many real ``wallet worker`` processes, their partitions shared out among them."""
        with ExitStack() as running:
            ports = [free_port() for _ in range(count)]
            services = []
            for number, port in enumerate(ports):
                env = environment_of(self.settings, worker_port=str(port))
                services.append(self._service("worker", number, env, port))
            for service in services:
                running.callback(service.stop)
            # Together, as they take a second each to load.
            with ThreadPoolExecutor(count) as starting:
                list(starting.map(Service.start, services))
            if not wait_until(lambda: _shared_out(ports), _SHARED_OUT_SECONDS):
                raise BenchFailed(f"the workers did not share the partitions; {self._logs()}")
            yield [self._process("worker", number) for number in range(count)]

    @contextmanager
    def api(self) -> Iterator[str]:
        """A real ``wallet api`` process; its address."""
        with self._alone("api", {}) as port:
            yield f"http://127.0.0.1:{port}"

    @contextmanager
    def bridge(self, environment: Mapping[str, str]) -> Iterator[int]:
        """A real ``wallet bridge`` process with more in its environment; its probe's port."""
        with self._alone("bridge", environment) as port:
            yield port

    @contextmanager
    def _alone(self, kind: str, environment: Mapping[str, str]) -> Iterator[int]:
        port = free_port()
        env = environment_of(self.settings, **{f"{kind}_port": str(port)}) | {**environment}
        service = self._service(kind, 0, env, port)
        try:
            service.start()
            yield port
        finally:
            service.stop()

    def _service(self, kind: str, number: int, env: dict[str, str], port: int) -> Service:
        return Service(
            f"{self.name}-{kind}-{number}",
            [sys.executable, "-m", "api.cli", kind],
            home=self.home,
            env=env,
            ready_url=f"http://127.0.0.1:{port}/readyz",
        )

    def _process(self, kind: str, number: int) -> psutil.Process:
        process = recorded(self.home / "run" / f"{self.name}-{kind}-{number}.pid")
        if process is None:
            raise BenchFailed(f"a {kind} ended; {self._logs()}")
        return process

    # ------------------------------------------------------------------ records

    def prepare(self, players: Sequence[Player]) -> None:
        """Make the players' made-up deposit addresses theirs; those of one seed alone."""
        new = [player for player in players if player.user_id not in self._addressed]
        with (
            connect(self.settings.database_url, application_name="wallet-bench") as connection,
            connection.cursor() as cursor,
            cursor.copy(
                "COPY deposit_addresses (address, user_id, account_key, chain, derivation_index,"
                " active, assigned_at) FROM STDIN"
            ) as copy,
        ):
            for player in new:
                copy.write_row(
                    (player.address, player.user_id, "bench", 0, player.number, True, "epoch")
                )
        self._addressed.update(player.user_id for player in new)

    def apply(self, records: Sequence[PlannedCommand], told: Told) -> None:
        """Send records and wait until their events are published; workers must be running."""
        self.send(records)
        self.await_published(self.targets_of(records), told)

    def send(self, records: Sequence[PlannedCommand]) -> None:
        """Put records on their topics, in the open."""
        producer = Producer(self.settings, linger_ms=5)
        refused: list[str] = []

        def note(delivery: Delivery) -> None:
            if delivery.error is not None:
                refused.append(delivery.error)

        for record in records:
            topic = topic_name(self.settings, record.topic)
            producer.send(topic, record.key, record.value, note)
        left = producer.flush()
        producer.close()
        if left or refused:
            raise BenchFailed(f"{left} records not taken, {len(refused)} refused: {refused[:1]}")
        self.expect(records)

    def gate(self, records: Sequence[PlannedCommand]) -> Gate:
        """The records on their topics, behind a gate; open it when everything is ready."""
        gate = Gate(self.settings)
        gate.fill((topic_name(self.settings, r.topic), r.key, r.value) for r in records)
        self.expect(records)
        return gate

    def expect(self, records: Sequence[PlannedCommand]) -> None:
        """Count on the outcomes of records that are sent by other means."""
        self._expected += outcomes_of(records)

    def targets_of(self, records: Sequence[PlannedCommand]) -> dict[Place, int]:
        """Where the partitions end that records were just put on, behind a gate or not.

        Of the others the last record may be a gate's own marker, which nobody ever reads.
        """
        filled = {
            (int(topic), partition_of(key, PARTITIONS))
            for topic, key in {(record.topic, record.key) for record in records}
        }
        return {place: end for place, end in self._marks.ends().items() if place in filled}

    def behind(self, targets: Mapping[Place, int]) -> int:
        """How many records before the targets are not published."""
        committed = self._marks.committed()
        return sum(max(end - committed[place], 0) for place, end in targets.items())

    def await_published(self, targets: Mapping[Place, int], told: Told) -> float:
        """Wait until all before the targets is published; the clock (monotonic) then."""
        before, moved = -1, time.monotonic()
        while True:
            behind = self.behind(targets)
            now = time.monotonic()
            if not behind:
                return now
            if behind != before:
                before, moved = behind, now
                told(f"{behind:,} to go")
            elif now - moved > _STALL_SECONDS:
                raise BenchFailed(f"{behind} records are not published; {self._logs()}")
            time.sleep(_SELDOM_SECONDS if behind > _MUCH else _GLANCE_SECONDS)

    def settle(self, plan: Plan, told: Told) -> None:
        """Apply what has to be there before a plan is measured: addresses, money, orders."""
        self.prepare(plan.players)
        self.checkpoint()
        self.apply(plan.funding, told)
        if plan.before:
            self.apply(plan.before, told)

    def check(self) -> None:
        """Raise ``BenchFailed`` unless every record has come to what its plan says."""
        found = self.outcomes()
        if found != self._expected:
            raise BenchFailed(
                f"expected {dict(self._expected - found)} more and {dict(found - self._expected)}"
                f" less of each outcome; {self._logs()}"
            )

    def outcomes(self) -> Counter[str]:
        """Outcomes in the books, of records that really were on the topics."""
        spans = [_ids_of(topic) for topic in CommandTopic]
        outcomes: Counter[str] = Counter()
        with connect(
            self.settings.api_database_url, application_name="wallet-bench", statement_seconds=0
        ) as connection:
            for first, last in spans:
                outcomes.update(
                    dict(
                        connection.execute(
                            """
                            SELECT CASE outcome WHEN 'rejected' THEN code ELSE outcome::text END,
                                   count(*)
                              FROM commands WHERE id >= %s AND id < %s GROUP BY 1
                            """,
                            (first, last),
                        ).fetchall()
                    )
                )
            letters = connection.execute("SELECT code, count(*) FROM dead_letters GROUP BY 1")
            outcomes.update(dict(letters.fetchall()))
        return outcomes

    def _url(self, role: str) -> str:
        return roles.url_as(self._superuser, self._database, role, self._password)

    def _logs(self) -> str:
        return f"the logs are in {self.home / 'logs'}"


def environment_of(settings: Settings, **own: str) -> dict[str, str]:
    """A process's environment: this process's own, its WALLET_* apart, and the settings."""
    values = {
        field: str(getattr(settings, field))
        for field in settings.__struct_fields__
        if field not in ("kafka", "home") and getattr(settings, field) != ""
    }
    kafka = {
        f"WALLET_KAFKA_{key.upper().replace('.', '_')}": value
        for key, value in settings.kafka.items()
    }
    plain = {key: value for key, value in os.environ.items() if not key.startswith("WALLET_")}
    ours = {f"WALLET_{field.upper()}": value for field, value in (values | own).items()}
    return plain | ours | kafka


def new_account() -> str:
    """The xpub of an account of the run's own."""
    return keys.Account.make("regtest").account_xpub


def event_ends(settings: Settings, topic: str) -> dict[int, int]:
    """Where a reader of new events begins."""
    return Admin(settings).ends(topic_name(settings, topic), range(settings.partitions))


def _ids_of(topic: CommandTopic) -> tuple[str, str]:
    """Least id of a topic's first generation, and of its second."""
    return text_of(slice_base(topic, 1, 0)), text_of(slice_base(topic, 2, 0))


def metric_of(port: int, name: str) -> float:
    """What a process of ours tells on its probe; 0 if it does not tell."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=2.0) as answer:
            text = answer.read().decode()
    except OSError as error:
        raise BenchFailed(f"a process does not answer: {error}") from error
    values = dict(line.rsplit(" ", 1) for line in text.splitlines())
    return float(values.get(name, 0))


def _shared_out(ports: Sequence[int]) -> bool:
    """Whether every worker has a share of the partitions, and all of them are somebody's."""
    shares = [metric_of(port, "wallet_worker_partitions") for port in ports]
    return min(shares) > 0 and sum(shares) == PARTITIONS * len(CommandTopic)
