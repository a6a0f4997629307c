"""A database and a broker in containers, where a Docker engine answers and nothing else is there.

Fixed ports and named volumes: data and addresses stay between runs, as with the embedded ones.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import quote

from streams.local.errors import PortTaken, StackError
from streams.local.process import LOOPBACK, port_is_free

if TYPE_CHECKING:
    # Loaded where containers are really used: the library takes a second to import.
    from testcontainers.core.container import DockerContainer

POSTGRES_IMAGE: Final = "postgres:18"
KAFKA_IMAGE: Final = "apache/kafka:4.1.1"

_SOCKET: Final = Path("/var/run/docker.sock")
_POSTGRES_PORT: Final = 5432
_KAFKA_PORT: Final = 9092
_START_SECONDS: Final = 120
_STOP_SECONDS: Final = 5


def engine_answers() -> bool:
    """Whether a Docker engine can be asked to run containers."""
    if "DOCKER_HOST" not in os.environ and not _SOCKET.exists():
        return False
    try:
        import docker
        from docker.errors import DockerException
    except ImportError:
        return False
    try:
        client = docker.from_env(timeout=5)
    except DockerException:
        return False
    try:
        return bool(client.ping())
    except DockerException:
        return False
    finally:
        client.close()


class ContainerPostgres:
    """PostgreSQL by testcontainers, its data in a volume of its own for each ``home``."""

    name = "database"
    origin = f"container {POSTGRES_IMAGE}"

    def __init__(self, home: Path, *, port: int, password: str) -> None:
        from testcontainers.community.postgres import PostgresContainer

        self.port = port
        self._password = password
        self._container = (
            PostgresContainer(
                POSTGRES_IMAGE,
                username="postgres",
                password=password,
                dbname="postgres",
                driver=None,
            )
            .with_volume_mapping(_volume(home, "postgres"), "/var/lib/postgresql", "rw")
            .with_command("postgres -c shared_buffers=256MB -c max_wal_size=4GB -c jit=off")
        )
        _publish(self._container, _POSTGRES_PORT, port)
        self._running = False

    @property
    def address(self) -> str:
        """The superuser's URL."""
        password = quote(self._password, safe="")
        return f"postgresql://postgres:{password}@{LOOPBACK}:{self.port}/postgres"

    def start(self) -> None:
        """Pull the image if need be, start, and return when it takes connections."""
        _start(self._container, self.port, self.name, "--database-port")
        self._running = True

    def alive(self) -> bool:
        """Whether the container runs."""
        return self._running and _is_running(self._container)

    def stop(self) -> None:
        """Stop it in order, then remove the container; its volume stays."""
        if self._running:
            _stop(self._container)
            self._running = False


class ContainerKafka:
    """Apache Kafka's own image by testcontainers, one KRaft node, its data in a volume.

    The library's ``KafkaContainer`` serves another vendor's images alone, so this is a plain
    container with the image's documented settings.
    """

    name = "broker"
    origin = f"container {KAFKA_IMAGE}"

    def __init__(self, home: Path, *, port: int) -> None:
        from testcontainers.core.container import DockerContainer
        from testcontainers.core.wait_strategies import LogMessageWaitStrategy

        self.port = port
        ready = LogMessageWaitStrategy("Kafka Server started").with_startup_timeout(_START_SECONDS)
        self._container = (
            DockerContainer(KAFKA_IMAGE)
            .with_envs(**kafka_environment(port))
            .with_volume_mapping(_volume(home, "kafka"), "/var/lib/kafka/data", "rw")
            .waiting_for(ready)
        )
        _publish(self._container, _KAFKA_PORT, port)
        self._running = False

    @property
    def address(self) -> str:
        """What a client takes as ``bootstrap.servers``."""
        return f"{LOOPBACK}:{self.port}"

    def start(self) -> None:
        """Pull the image if need be, start, and return when it serves."""
        _start(self._container, self.port, self.name, "--broker-port")
        self._running = True

    def alive(self) -> bool:
        """Whether the container runs."""
        return self._running and _is_running(self._container)

    def stop(self) -> None:
        """Stop it in order, then remove the container; its volume stays."""
        if self._running:
            _stop(self._container)
            self._running = False


def _publish(container: DockerContainer, inside: int, outside: int) -> None:
    """Publish a port on the loopback alone; ``with_bind_ports`` would publish it to the world."""
    cast("dict[str, object]", container.ports)[str(inside)] = (LOOPBACK, outside)


def _start(container: DockerContainer, port: int, server: str, option: str) -> None:
    from docker.errors import DockerException

    if not port_is_free(port):
        raise PortTaken(port, server, option)
    try:
        container.start()
    except (DockerException, TimeoutError, RuntimeError) as error:
        with contextlib.suppress(DockerException):
            container.stop()
        raise StackError(
            f"the {server} did not start in its container: {error}; `docker ps -a` and "
            "`docker logs` tell more"
        ) from error


def _is_running(container: DockerContainer) -> bool:
    from docker.errors import DockerException

    try:
        container.reload()
        return bool(container.status == "running")
    except DockerException:
        return False


def _stop(container: DockerContainer) -> None:
    # The library removes by force, which is a kill: let the server write what it holds first.
    container.get_wrapped_container().stop(timeout=_STOP_SECONDS)
    container.stop()


def kafka_environment(port: int) -> dict[str, str]:
    """What the image is told of itself, published on ``port``; `docker-compose.yml` has the same.

    It reads ``KAFKA_X_Y`` as ``x.y``; the controller listens inside alone.
    """
    return {
        "CLUSTER_ID": "d2FsbGV0LWxvY2FsLTAwMQ",
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_LISTENERS": f"CLIENT://:{_KAFKA_PORT},CONTROLLER://localhost:9093",
        "KAFKA_ADVERTISED_LISTENERS": f"CLIENT://{LOOPBACK}:{port}",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "KAFKA_INTER_BROKER_LISTENER_NAME": "CLIENT",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_LOG_DIRS": "/var/lib/kafka/data",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS": "4",
        "KAFKA_OFFSETS_RETENTION_MINUTES": "2147483647",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_NUM_PARTITIONS": "4",
        "KAFKA_LOG_FLUSH_INTERVAL_MESSAGES": "1",
    }


def _volume(home: Path, server: str) -> str:
    """A volume's name that belongs to this ``home`` alone."""
    return f"wallet-{hashlib.sha256(str(home.resolve()).encode()).hexdigest()[:12]}-{server}"
