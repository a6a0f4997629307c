"""What the servers of the local stack have in common: one process, its pid file, and its port."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

import psutil

from streams.local.errors import DidNotStart, PortTaken
from streams.local.process import alive, port_is_free, recorded, size_of, stop, wait_until

_STOP_SECONDS: Final = 4.0
#: How long the port of a killed server may stay taken.
_PORT_SECONDS: Final = 2.0


#: Finds a server that runs though no pid file says so.
Unrecorded = Callable[[], psutil.Process | None]


class EmbeddedServer:
    """A server that runs as a process of its own; ``start`` is each kind's."""

    #: What people call it.
    name: str
    #: What ends it at once and in order.
    ends_by: signal.Signals = signal.SIGTERM

    def __init__(self, *, port: int, log: Path, pid_file: Path) -> None:
        self.port = port
        self._log = log
        self._pid_file = pid_file
        self._said_before = 0
        self._process: subprocess.Popen[bytes] | None = None

    def alive(self) -> bool:
        """Whether its process runs."""
        return self._process is not None and alive(self._process)

    @property
    def pid(self) -> int | None:
        """Its process id, while it runs."""
        return self._process.pid if self._process is not None and self.alive() else None

    def stop(self) -> None:
        """Stop it within four seconds; what it keeps on disk stays."""
        if self._process is not None:
            stop(self._process, by=self.ends_by, patience_seconds=_STOP_SECONDS)
            self._process = None
            self._pid_file.unlink(missing_ok=True)

    def _make_way(self, option: str, unrecorded: Unrecorded = lambda: None) -> None:
        """Stop what runs, and what an earlier supervisor left, recorded or not.

        Raises ``PortTaken``, which names the ``option`` for another port.
        """
        self.stop()
        stop_leftover(self._pid_file, by=self.ends_by, unrecorded=unrecorded)
        if not wait_until(lambda: port_is_free(self.port), _PORT_SECONDS):
            raise PortTaken(self.port, self.name, option)
        self._said_before = size_of(self._log)

    def _await(self, serves: Callable[[], bool], seconds: float) -> None:
        """Wait until it serves; raises ``DidNotStart`` if it ends, or takes too long."""

        def runs_and_serves() -> bool:
            if not self.alive():
                raise self._did_not_start("it ended at once")
            return serves()

        if not wait_until(runs_and_serves, seconds):
            self.stop()
            raise self._did_not_start(f"no answer in {seconds:.0f} s")

    def _did_not_start(self, why: str) -> DidNotStart:
        return DidNotStart(self.name, why, self._log, said_before=self._said_before)


def stop_leftover(
    pid_file: Path,
    *,
    by: signal.Signals = signal.SIGTERM,
    unrecorded: Unrecorded = lambda: None,
) -> bool:
    """Stop the server that an earlier, killed supervisor left behind; True if there was one."""
    left = recorded(pid_file) or unrecorded()
    if left is None:
        return False
    stop(left, by=by, patience_seconds=_STOP_SECONDS)
    pid_file.unlink(missing_ok=True)
    return True
