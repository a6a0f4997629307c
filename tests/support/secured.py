"""Servers as a deployment has them: a broker with TLS, SCRAM users and ACLs, a database by TLS."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import psycopg
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialAlteration,
    UserScramCredentialUpsertion,
)

from db import migrate
from db.engine import connect
from schemas.settings import Settings
from schemas.topics import Party, topic_name
from streams.kafka.produce import Delivery, Producer
from streams.local import places, roles
from streams.local.broker import EmbeddedKafka, SecuredListener
from streams.local.postgres import EmbeddedPostgres
from streams.local.process import free_port
from tests.conftest import PASSWORD, PASSWORDS, Database
from tests.support.authority import Authority

#: What the broker's users are hashed with: the least it takes, since the tests wait for it.
_ITERATIONS: Final = 4096


@dataclass(frozen=True, kw_only=True)
class Secured:
    """The servers' addresses, and what a client must trust to reach them."""

    authority: Authority
    #: Without TLS, where whoever comes is the broker's superuser.
    superuser_broker: str
    broker: str
    postgres: str
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
        """The URL of a database that is reached by TLS alone, its certificate checked."""
        trusted = (authority or self.authority).file
        return f"{url}?sslmode=verify-full&sslrootcert={trusted}"

    def superuser(self) -> Settings:
        """Settings of whoever set the broker up."""
        return Settings(kafka={"bootstrap.servers": self.superuser_broker})

    def database(self, name: str) -> Database:
        """A migrated database of that name."""
        roles.bootstrap(self.postgres, name, PASSWORDS)
        made = Database.on(self.postgres, name)
        migrate.upgrade(self.by_tls(made.owner_url))
        return made


@contextmanager
def secured_servers(home: Path) -> Iterator[Secured]:
    """Both servers under ``home``, and a user of the broker for each party."""
    home.mkdir()
    home.chmod(0o755)
    authority = Authority(home)
    files = authority.server("server")
    identity = places.database_identity(home / "postgres")
    if identity is not None:
        shutil.chown(files.key, identity.uid, identity.gid)
    postgres = EmbeddedPostgres(
        home, port=free_port(), password=PASSWORD, tls=(files.certificate, files.key)
    )
    listener = SecuredListener(port=free_port(), keystore=files.both)
    kafka = EmbeddedKafka(home, port=free_port(), secured=listener)
    servers = Secured(
        authority=authority,
        superuser_broker=kafka.address,
        broker=listener.address,
        postgres=postgres.address,
        password=secrets.token_urlsafe(16),
    )
    try:
        postgres.start()
        kafka.start()
        _make_users(servers)
        yield servers
    finally:
        kafka.remove()
        postgres.remove()


def _make_users(servers: Secured) -> None:
    info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, _ITERATIONS)
    users: list[UserScramCredentialAlteration] = [
        UserScramCredentialUpsertion(f"wallet-{party}", info, servers.password.encode())
        for party in (*Party, "stranger")
    ]
    admin = AdminClient({"bootstrap.servers": servers.superuser_broker})
    for future in admin.alter_user_scram_credentials(users).values():
        future.result()


def told_of_writing(settings: Settings, topic: str) -> Delivery:
    """What becomes of a record that is put on a topic."""
    told: list[Delivery] = []
    producer = Producer(settings, timeout_ms=10_000)
    producer.send(topic_name(settings, topic), b"k", b"not a command", told.append, partition=0)
    assert producer.flush() == 0
    producer.close()
    return told[0]


def sessions(url: str) -> dict[str, bool]:
    """By service, whether all its sessions with the database are encrypted."""
    with connect(url, application_name="test") as connection:
        rows = connection.execute(
            "SELECT application_name, bool_and(ssl) FROM pg_stat_activity"
            " JOIN pg_stat_ssl USING (pid)"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() GROUP BY 1"
        ).fetchall()
    return {str(name): bool(encrypted) for name, encrypted in rows}


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
