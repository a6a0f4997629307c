"""What can be wrong with the local stack, each told in one line with the way out."""

from __future__ import annotations

import json
from pathlib import Path


class StackError(Exception):
    """The local stack cannot start or stop."""


class PortTaken(StackError):
    """Another process listens where a server of ours should."""

    def __init__(self, port: int, server: str, option: str) -> None:
        self.port = port
        super().__init__(
            f"port {port}, which the {server} needs, is taken by another process: "
            f"stop that one, or give the {server} another with {option}"
        )


class HomeUnwritable(StackError):
    """Where data, keys and logs are to stay, nothing can be written."""

    def __init__(self, path: Path, error: OSError) -> None:
        self.path = path
        super().__init__(
            f"cannot write {path}: {error.strerror}; make it writable, or name another folder "
            "with WALLET_HOME"
        )


class HalfInitialised(StackError):
    """A data directory is there, but what makes it usable is not."""

    def __init__(self, directory: Path, missing: str) -> None:
        self.directory = directory
        super().__init__(
            f"{directory} is half-initialised ({missing} is missing): restore it from a copy, "
            f"or remove all of {directory.parent.parent} and start with empty books"
        )


class DidNotStart(StackError):
    """A server ended, or did not answer in time, before it was ready."""

    def __init__(self, server: str, why: str, log: Path, *, said_before: int = 0) -> None:
        tail = _tail(log, said_before)
        super().__init__(
            f"the {server} did not start ({why}); its log is {log}"
            + (f", and ends: {tail}" if tail else "")
        )


class NotReady(StackError):
    """A process of ours runs, and says what keeps it from working; no further start mends that."""

    def __init__(self, server: str, reason: str) -> None:
        super().__init__(f"the {server} started, but not ready: {reason}")


def _tail(log: Path, said_before: int, lines: int = 3) -> str:
    """The last lines of this start; what a log held before tells of another one."""
    try:
        with log.open("rb") as file:
            # A log that was put aside meanwhile is a new one.
            file.seek(said_before if log.stat().st_size >= said_before else 0)
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return " / ".join(_plain(line.strip()) for line in text.splitlines()[-lines:] if line.strip())


def _plain(line: str) -> str:
    """A line of a service's log without its JSON: the message, and what was raised."""
    try:
        record = json.loads(line)
        message = str(record["message"])
    except (ValueError, TypeError, KeyError):
        return line
    raised = str(record.get("exception", "")).strip().rpartition("\n")[2]
    return f"{message}: {raised}" if raised else message
