"""Servers as a deployment has them: a broker with TLS, users and ACLs, a database by TLS."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import msgspec
import psycopg
from confluent_kafka import KafkaError, Message, Producer
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialAlteration,
    UserScramCredentialUpsertion,
)

from db.engine import connect
from schemas.settings import Settings
from schemas.topics import Party, topic_name
from streams.kafka.config import client_config
from streams.local.broker import EmbeddedKafka, SecuredListener
from streams.local.process import free_port
from tests.conftest import Database
from tests.support.authority import Authority
from tests.support.tls_front import tls_in_front_of

#: What the broker's users are hashed with: the least it takes, since the tests wait for it.
_ITERATIONS: Final = 4096


@dataclass(frozen=True, kw_only=True)
class Secured:
    """The servers' addresses, and what a client must trust to reach them."""

    authority: Authority
    #: Without TLS, where whoever comes is the broker's superuser.
    superuser_broker: str
    broker: str
    database_port: int
    password: str

    def kafka(self, user: str, **changes: str) -> dict[str, str]:
        """librdkafka's settings of a user of the broker."""
        return {
            "bootstrap.servers": self.broker,
            "security.protocol": "SASL_SSL",
            "ssl.ca.location": str(self.authority.file),
            "sasl.mechanism": SecuredListener.mechanism,
            "sasl.username": user,
            "sasl.password": self.password,
            **{name.replace("_", "."): value for name, value in changes.items()},
        }

    def by_tls(self, url: str, authority: Authority | None = None) -> str:
        """The address of a database, reached by TLS alone, whose certificate is checked."""
        trusted = (authority or self.authority).file
        parts = urlsplit(url)
        where = f"{parts.netloc.rpartition('@')[0]}@127.0.0.1:{self.database_port}"
        query = f"sslmode=verify-full&sslrootcert={trusted}"
        return urlunsplit(parts._replace(netloc=where, query=query))

    def superuser(self) -> Settings:
        """Settings of whoever set the broker up."""
        return Settings(kafka={"bootstrap.servers": self.superuser_broker})


@contextmanager
def secured_servers(home: Path, postgres: str) -> Iterator[Secured]:
    """A broker under ``home`` with a user for each party, and the database server by TLS."""
    home.mkdir()
    authority = Authority(home)
    files = authority.server("server")
    listener = SecuredListener(port=free_port(), keystore=files.both)
    kafka = EmbeddedKafka(home, port=free_port(), secured=listener)
    parts = urlsplit(postgres)
    with tls_in_front_of(parts.hostname or "", parts.port or 0, files) as port:
        servers = Secured(
            authority=authority,
            superuser_broker=kafka.address,
            broker=listener.address,
            database_port=port,
            password=secrets.token_urlsafe(16),
        )
        try:
            kafka.start()
            _make_users(servers)
            yield servers
        finally:
            kafka.remove()


def _make_users(servers: Secured) -> None:
    info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, _ITERATIONS)
    users: list[UserScramCredentialAlteration] = [
        UserScramCredentialUpsertion(f"wallet-{party}", info, servers.password.encode())
        for party in (*Party, "stranger")
    ]
    admin = AdminClient({"bootstrap.servers": servers.superuser_broker})
    for future in admin.alter_user_scram_credentials(users).values():
        future.result()


def told_of_writing(settings: Settings, *topics: str) -> dict[str, str | None]:
    """By topic, the error of a record that is put on it; None where it is taken.

    By a producer without idempotence, which whoever may write nowhere cannot have at all.
    """
    told: dict[str, str | None] = {}
    producer = Producer(client_config(settings))
    for topic in topics:

        def note(error: KafkaError | None, _: Message, topic: str = topic) -> None:
            told[topic] = None if error is None else error.name()

        producer.produce(topic_name(settings, topic), b"x", b"k", 0, on_delivery=note)
    assert producer.flush(20.0) == 0
    return told


def with_database(settings: Settings, servers: Secured, database: Database) -> Settings:
    """The settings, with each role's address by TLS."""
    return msgspec.structs.replace(
        settings,
        database_url=servers.by_tls(database.owner_url),
        worker_database_url=servers.by_tls(database.worker_url),
        api_database_url=servers.by_tls(database.api_url),
        watcher_database_url=servers.by_tls(database.watcher_url),
        payer_database_url=servers.by_tls(database.payer_url),
    )


def refusal_of(url: str) -> str:
    """What libpq says of a database that it does not connect to."""
    try:
        with connect(url, application_name="test"):
            return ""
    except psycopg.OperationalError as error:
        return str(error)
