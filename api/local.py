"""The whole wallet on one machine, as ``wallet up`` runs it: servers, topics, and our processes."""

from __future__ import annotations

import os
import sys
import threading
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from api.auth import INTERNAL, mint
from api.home import (
    ENDPOINTS_FILE,
    ENVIRONMENT_FILE,
    Endpoints,
    leftovers,
    stop_leftovers,
)
from api.local_chain import LocalChain, provide_chain
from api.probes import address_of
from db import migrate
from db.engine import connect
from db.ledger import rules
from processors.seed import first_rules, keyring_of
from schemas.settings import Settings
from streams.kafka.admin import create_topics
from streams.local import keys, roles, stack
from streams.local.errors import PortTaken, StackError
from streams.local.process import free_port, port_is_free
from streams.local.progress import Progress
from streams.local.supervisor import Service, Supervisor

DATABASE: Final = "wallet"
TOKEN_SECONDS: Final = 30 * 86_400

#: Those that are given credentials of AWS.
_CLIENTS_OF_AWS: Final = ("payer", "bridge")

#: The setting that has each service's own address of the database.
_ROLE_OF: Final = {
    "worker_database_url": roles.WORKER,
    "api_database_url": roles.API,
    "watcher_database_url": roles.WATCHER,
    "payer_database_url": roles.PAYER,
}
#: What opens something, and which of it each service is given.
_SECRETS: Final = (
    "database_url",
    *_ROLE_OF,
    "jwt_secret",
    "node_user",
    "node_password",
    "node_cookie",
    "account_secret",
)
_NODE: Final = ("node_user", "node_password", "node_cookie")
_NEEDED_BY: Final = {
    "worker": ("worker_database_url",),
    "api": ("api_database_url", "jwt_secret"),
    "watcher": ("watcher_database_url", *_NODE),
    "payer": ("payer_database_url", "account_secret", *_NODE),
    "bridge": (),
    "views": ("api_database_url",),
}


class LocalWallet:
    """Starts everything under ``home``, watches it, and stops it."""

    def __init__(
        self,
        home: Path,
        settings: Settings,
        progress: Progress,
        asked: keys.Ports,
        block_seconds: float = 1.0,
        *,
        accounts: int = 1,
    ) -> None:
        self._home = home
        self._given = settings
        self._progress = progress
        self._asked = asked
        self._block_seconds = block_seconds
        self._account_count = accounts
        self._servers_started = 0
        self._supervisor = Supervisor(progress.note)

    def start(self) -> Endpoints:
        """Start all of it in order; raises ``StackError`` in one clear line."""
        self._stop_leftovers()
        passwords = keys.passwords(self._home)
        given = self._given
        self._check_api_port()
        accounts = self._accounts()
        ports = keys.ports(self._home, self._asked)
        database, broker = self._servers(passwords, ports)
        chain = provide_chain(
            self._home,
            given,
            ports,
            key_is_ours=bool(accounts),
            block_seconds=self._block_seconds,
        )
        servers: list[stack.Server] = [database, broker, *chain.servers]
        for server in servers:
            with self._progress.step(f"starting the {server.name}: {server.origin}"):
                self._supervisor.start(server)
            self._servers_started += 1
        settings = chain.settings(self._settings(database, broker, passwords, accounts))
        self._prepare(database, settings, passwords)
        write_environment(self._home, settings, _credentials(chain))
        self._start_services(settings, chain)
        return self._publish(settings, accounts, chain)

    def watch(self) -> None:
        """Keep it running, for ever; raises ``StackError`` if something will not run."""
        self._supervisor.watch(threading.Event())

    def stop(self) -> None:
        """Stop everything within ten seconds; the data stays."""
        (self._home / ENDPOINTS_FILE).unlink(missing_ok=True)
        (self._home / ENVIRONMENT_FILE).unlink(missing_ok=True)
        self._supervisor.stop(together=self._servers_started)

    def _stop_leftovers(self) -> None:
        left = leftovers(self._home)
        if left:
            self._progress.note(
                f"an earlier `wallet up` was killed and left {', '.join(left)} running; "
                "stopping that first"
            )
            stop_leftovers(self._home)

    def _accounts(self) -> Sequence[keys.Account]:
        """Those of this home; none where the settings name accounts whose keys are elsewhere."""
        given = self._given
        if not given.account_xpub:
            return keys.have_accounts(self._home, given.network, self._account_count)
        if self._account_count > 1:
            raise StackError(
                "--accounts makes them in this home, and WALLET_ACCOUNT_XPUB names accounts of "
                "your own: `wallet keys generate` makes another one for there"
            )
        return ()

    def _servers(
        self, passwords: keys.Passwords, ports: keys.Ports
    ) -> tuple[stack.Server, stack.Server]:
        database = stack.provide_postgres(
            self._home,
            port=ports.database,
            password=passwords.superuser,
            given=self._given.database_url,
        )
        broker = stack.provide_kafka(
            self._home,
            port=ports.broker,
            given=self._given.kafka.get("bootstrap.servers", ""),
            progress=self._progress,
        )
        return database, broker

    def _check_api_port(self) -> None:
        port, host = self._given.api_port, self._given.api_host
        if port and not port_is_free(port, host):
            raise PortTaken(port, "API", "--api-port")

    def _settings(
        self,
        database: stack.Server,
        broker: stack.Server,
        passwords: keys.Passwords,
        accounts: Sequence[keys.Account],
    ) -> Settings:
        given = self._given
        if given.database_url:
            given.require(*_ROLE_OF)
            urls = {}
        else:
            urls = _urls(database.address, passwords)
        key = {"account_xpub": ",".join(each.account_xpub for each in accounts)} if accounts else {}
        return msgspec.structs.replace(
            given,
            **urls,
            **key,
            home=str(self._home),
            jwt_secret=given.jwt_secret or passwords.jwt_secret,
            worker_port=given.worker_port or free_port(),
            watcher_port=given.watcher_port or free_port(),
            payer_port=given.payer_port or free_port(),
            bridge_port=given.bridge_port or free_port(),
            views_port=given.views_port or free_port(),
            api_port=given.api_port or free_port(),
            kafka={**given.kafka, "bootstrap.servers": broker.address},
        )

    def _prepare(
        self, database: stack.Server, settings: Settings, passwords: keys.Passwords
    ) -> None:
        with self._progress.step("migrating the database"):
            if not self._given.database_url:
                roles.bootstrap(database.address, DATABASE, passwords.of_roles())
            migrate.upgrade(settings.database_url)
            with connect(settings.database_url, application_name="wallet-up") as connection:
                rules.seed_rules(connection, first_rules(settings, keyring_of(settings)))
        with self._progress.step("creating the topics"):
            create_topics(settings)

    def _start_services(self, settings: Settings, chain: LocalChain) -> None:
        for note in chain.notes:
            self._progress.note(note)
        for name in ("worker", "api", *chain.services):
            own = _credentials(chain) if name in _CLIENTS_OF_AWS else {}
            service = Service(
                name,
                [sys.executable, "-m", "api.cli", name],
                home=self._home,
                env=_environment_of(name, settings) | own,
                ready_url=f"{address_of(name, settings)}/readyz",
                certificate=settings.api_tls_certificate,
            )
            with self._progress.step(f"starting the {name}"):
                self._supervisor.start(service)

    def _publish(
        self, settings: Settings, accounts: Sequence[keys.Account], chain: LocalChain
    ) -> Endpoints:
        user_id = accounts[0].user_id if accounts else str(uuid.uuid4())
        endpoints = Endpoints(
            pid=os.getpid(),
            api=address_of("api", settings),
            api_certificate=settings.api_tls_certificate,
            broker=settings.kafka["bootstrap.servers"],
            database=settings.api_database_url,
            worker_metrics=f"{address_of('worker', settings)}/metrics",
            node=settings.node_url,
            aws="" if chain.aws is None else chain.aws.address,
            **{
                f"{name}_metrics": f"{address_of(name, settings)}/metrics"
                for name in chain.services
            },
            user_id=user_id,
            user_token=mint(settings, user_id, (), TOKEN_SECONDS),
            service_token=mint(settings, "local-service", (INTERNAL,), TOKEN_SECONDS),
            environment_file=str(self._home / ENVIRONMENT_FILE),
        )
        text = msgspec.json.format(msgspec.json.encode(endpoints), indent=2).decode()
        keys.write_private(self._home / ENDPOINTS_FILE, text + "\n")
        return endpoints


def write_environment(home: Path, settings: Settings, more: Mapping[str, str] = {}) -> None:
    """Write the settings that differ from their defaults, as a shell takes them."""
    lines = (f"{name}={value}\n" for name, value in (_environment(settings) | {**more}).items())
    keys.write_private(home / ENVIRONMENT_FILE, "".join(lines))


def _credentials(chain: LocalChain) -> dict[str, str]:
    """What the emulator's clients need beside our settings; AWS itself is not our affair."""
    if chain.aws is None:
        return {}
    return {
        name: value
        for name, value in chain.aws.environment().items()
        if not name.startswith("WALLET_")
    }


def _urls(superuser_url: str, passwords: keys.Passwords) -> dict[str, str]:
    own = passwords.of_roles()
    return {
        field: roles.url_as(superuser_url, DATABASE, role, own[role])
        for field, role in (("database_url", roles.OWNER), *_ROLE_OF.items())
    }


def _environment(settings: Settings) -> dict[str, str]:
    default = Settings()
    values = {
        f"WALLET_{field.upper()}": str(getattr(settings, field))
        for field in settings.__struct_fields__
        if field != "kafka" and getattr(settings, field) != getattr(default, field)
    }
    kafka = {
        f"WALLET_KAFKA_{key.upper().replace('.', '_')}": value
        for key, value in settings.kafka.items()
    }
    return values | kafka


def _environment_of(name: str, settings: Settings) -> dict[str, str]:
    """A service's environment: it is given its own role's password alone, and no other secret."""
    needed = _NEEDED_BY[name]
    others = {field: "" for field in _SECRETS if field not in needed}
    own = msgspec.structs.replace(settings, **others)
    plain = {key: value for key, value in os.environ.items() if not key.startswith("WALLET_")}
    return plain | _environment(own)
