"""A folder of ``wallet up``: what it says of the wallet that runs there, or was killed there."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from streams.local.errors import HomeUnwritable, StackError
from streams.local.process import alive, record, recorded, stop

ENVIRONMENT_FILE: Final = "up.env"
ENDPOINTS_FILE: Final = "endpoints.json"

#: What ``wallet up`` starts of ours, in this order; all stop before the servers do.
SERVICES: Final = ("worker", "api", "watcher", "payer", "bridge", "views")
SERVERS: Final = ("postgres", "kafka", "node", "aws")

_DOWN_SECONDS: Final = 12.0


class Endpoints(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach a running wallet; ``endpoints.json`` holds the same for scripts."""

    #: The process to stop for everything to stop.
    pid: int
    api: str
    #: File of the certificate that it serves, where it speaks TLS.
    api_certificate: str = ""
    broker: str
    #: As the role that may only read.
    database: str
    worker_metrics: str
    #: The node's RPC, the AWS emulator, and where these processes tell of themselves; empty where
    #: they are not run.
    node: str = ""
    aws: str = ""
    watcher_metrics: str = ""
    payer_metrics: str = ""
    bridge_metrics: str = ""
    #: Its JSON pages too: `/flows`, `/lag`, `/alerts` and others.
    views_metrics: str = ""
    user_id: str
    user_token: str
    service_token: str
    #: Settings for the other commands, as a shell takes them.
    environment_file: str


def read_endpoints(home: Path) -> Endpoints | None:
    """What a running wallet wrote, or None."""
    try:
        return msgspec.json.decode((home / ENDPOINTS_FILE).read_bytes(), type=Endpoints)
    except FileNotFoundError:
        return None


def supervisor_pid(home: Path) -> int | None:
    """The process of the `wallet up` that runs under ``home``, or None."""
    process = recorded(home / "run" / "up.pid")
    return None if process is None else process.pid


def folder_of(home: Path, name: str) -> Path:
    """A folder under ``home``, made where it is missing; raises ``StackError``."""
    folder = home / name
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """What cannot be written in it, at ``path`` or under it, is a ``StackError``."""
    try:
        yield
    except OSError as error:
        raise HomeUnwritable(path, error) from error


@contextmanager
def only_one(home: Path) -> Iterator[None]:
    """Hold the lock of ``home``; raises ``StackError`` if another `wallet up` does, or none can."""
    run = folder_of(home, "run")
    with writing(run / "up.lock"):
        file = (run / "up.lock").open("w")
    with file as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackError(
                f"it runs already (pid {supervisor_pid(home)}): `wallet status` shows where, "
                "`wallet down` stops it"
            ) from None
        with writing(run / "up.pid"):
            record(run / "up.pid", os.getpid())
        try:
            yield
        finally:
            (run / "up.pid").unlink(missing_ok=True)


def take_down(home: Path) -> bool:
    """Ask the `wallet up` of ``home`` to stop; True if there was one, or what one had left."""
    process = recorded(home / "run" / "up.pid")
    if process is not None and not stop(process, patience_seconds=_DOWN_SECONDS):
        stop_leftovers(home)
    return process is not None or stop_leftovers(home)


def leftovers(home: Path) -> list[str]:
    """What a killed `wallet up` left running, by name."""
    names = (*SERVICES, *reversed(SERVERS))
    return [name for name in names if recorded(home / "run" / f"{name}.pid") is not None]


def stop_leftovers(home: Path) -> bool:
    """Stop those, services first; True if there were any."""
    left = leftovers(home)
    for name in left:
        process = recorded(home / "run" / f"{name}.pid")
        if process is not None and alive(process):
            # PostgreSQL takes SIGTERM for "when the last session has ended", SIGINT for "now".
            by = signal.SIGINT if name == "postgres" else signal.SIGTERM
            stop(process, by=by, patience_seconds=4.0)
        (home / "run" / f"{name}.pid").unlink(missing_ok=True)
    for name in (ENDPOINTS_FILE, ENVIRONMENT_FILE):
        (home / name).unlink(missing_ok=True)
    return bool(left)
