"""Processes of the local stack: started apart, recorded by pid file, found and stopped again."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from streams.ports import LOOPBACK, free_port

#: The ports are from a module of their own, since views too take one and want nothing local.
__all__ = [
    "LOOPBACK",
    "Identity",
    "accepts",
    "alive",
    "free_port",
    "is_root",
    "port_is_free",
    "record",
    "recorded",
    "size_of",
    "spawn",
    "stop",
    "wait_until",
]

#: Between two looks at a condition that another process makes true.
_GLANCE_SECONDS: Final = 0.02

#: A log above this is put aside when its process starts; the one put aside before is dropped.
_LOG_MAX_BYTES: Final = 64 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Identity:
    """The operating system's user that a process runs as."""

    name: str
    uid: int
    gid: int


def spawn(
    argv: Sequence[str],
    *,
    log: Path,
    pid_file: Path,
    env: Mapping[str, str] | None = None,
    identity: Identity | None = None,
) -> subprocess.Popen[bytes]:
    """Start ``argv`` in a session of its own, its output appended to ``log``.

    A session of its own, so that Ctrl-C in a terminal reaches the supervisor alone, which then
    stops the others in their order.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > _LOG_MAX_BYTES:
        log.replace(log.with_suffix(".log.1"))
    with log.open("ab") as output:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=None if env is None else dict(env),
            cwd="/" if identity is not None else None,
            start_new_session=True,
            user=None if identity is None else identity.uid,
            group=None if identity is None else identity.gid,
            extra_groups=None if identity is None else [],
        )
    try:
        record(pid_file, process.pid)
    except OSError:
        # Nobody would find it again.
        stop(process, by=signal.SIGKILL, patience_seconds=1.0)
        raise
    return process


def size_of(log: Path) -> int:
    """How much a log holds; nothing where it is not there."""
    return log.stat().st_size if log.exists() else 0


def record(pid_file: Path, pid: int) -> None:
    """Note a process by pid and start, so that a pid used again is never taken for it."""
    pid_file.parent.mkdir(parents=True, exist_ok=True)
    try:
        started = psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        started = 0.0
    part = pid_file.with_suffix(".part")
    part.write_text(f"{pid} {started:.2f}\n")
    part.replace(pid_file)


def recorded(pid_file: Path) -> psutil.Process | None:
    """The living process that ``pid_file`` names, or None."""
    try:
        pid, started = pid_file.read_text().split()
        process = psutil.Process(int(pid))
        same = abs(process.create_time() - float(started)) < 1.0
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except (OSError, ValueError, psutil.NoSuchProcess):
        # It may end between two questions, too.
        return None


def alive(process: psutil.Process | subprocess.Popen[bytes]) -> bool:
    """Whether the process still runs; reaps it if it is our child and has ended."""
    if isinstance(process, subprocess.Popen):
        return process.poll() is None
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def stop(
    process: psutil.Process | subprocess.Popen[bytes],
    *,
    by: signal.Signals = signal.SIGTERM,
    patience_seconds: float,
) -> bool:
    """Ask the process to end with ``by``; after the patience kill it. True if it ended by itself.

    A frozen process is thawed, since otherwise it would not hear the question.
    """
    with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
        process.send_signal(by)
        process.send_signal(signal.SIGCONT)
    if wait_until(lambda: not alive(process), patience_seconds):
        return True
    with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
        process.send_signal(signal.SIGKILL)
    wait_until(lambda: not alive(process), 5.0)
    return False


def wait_until(condition: Callable[[], bool], timeout_seconds: float) -> bool:
    """Look at the condition until it holds (True) or the time is over (False)."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(_GLANCE_SECONDS)
    return True


def port_is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server could listen on the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def accepts(port: int, host: str = LOOPBACK) -> bool:
    """Whether somebody accepts connections on the port."""
    try:
        with socket.create_connection((host, port), timeout=1.0):
            return True
    except OSError:
        return False


def is_root() -> bool:
    """Whether this process has root's rights."""
    return os.geteuid() == 0
