"""Keeps processes running: starts them in order, starts again what ends, stops them in reverse."""

from __future__ import annotations

import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Protocol

from streams.local.asking import answers, refusal
from streams.local.errors import DidNotStart, NotReady, StackError
from streams.local.process import alive, recorded, size_of, spawn, stop, wait_until

_READY_SECONDS: Final = 60.0
#: With the servers' four seconds after it, Ctrl-C has an end within ten.
_DRAIN_SECONDS: Final = 5.0
_WATCH_SECONDS: Final = 0.3
#: Before what the machine itself did not let start is started again.
_PAUSE_SECONDS: Final = 2.0
#: In what a process says of itself: it waits for an operator, and no waiting for it helps.
_HALTED: Final = "halted: "

#: What ends oftener than that in a minute has a fault that no further start will mend.
_RESTARTS_MAX: Final = 5
_RESTARTS_WINDOW_SECONDS: Final = 60.0


class Runs(Protocol):
    """Something that can be started, looked at and stopped."""

    @property
    def name(self) -> str:
        """What people call it."""

    def start(self) -> None:
        """Start it and return when it serves."""

    def alive(self) -> bool:
        """Whether it runs."""

    def stop(self) -> None:
        """Stop it in order, within seconds."""


class Service:
    """A process of ours: started as a command, ready when its address says so."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        home: Path,
        env: dict[str, str],
        ready_url: str,
        certificate: str = "",
    ) -> None:
        self.name = name
        self.ready_url = ready_url
        #: What it serves, where its address is https.
        self._certificate = certificate
        self._argv = list(argv)
        self._env = env
        self._log = home / "logs" / f"{name}.log"
        self._pid_file = home / "run" / f"{name}.pid"
        self._said_before = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and return when ``ready_url`` answers 200.

        Raises ``NotReady`` if it runs and says why it is not; ``DidNotStart`` if it says nothing.
        """
        self.stop()
        if (left := recorded(self._pid_file)) is not None:
            stop(left, patience_seconds=_DRAIN_SECONDS)
        self._said_before = size_of(self._log)
        self._process = spawn(self._argv, log=self._log, pid_file=self._pid_file, env=self._env)
        if not wait_until(self._ready_or_ended, _READY_SECONDS):
            if (reason := self._refusal()) is not None:
                raise NotReady(self.name, reason)
            self.stop()
            raise self._did_not_start(f"not ready in {_READY_SECONDS:.0f} s")

    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and alive(self._process)

    def stop(self) -> None:
        """Let it drain, then end it."""
        if self._process is not None:
            stop(self._process, patience_seconds=_DRAIN_SECONDS)
            self._process = None
            self._pid_file.unlink(missing_ok=True)

    def _ready_or_ended(self) -> bool:
        if not self.alive():
            raise self._did_not_start("it ended at once")
        if answers(self.ready_url, self._certificate):
            return True
        if (reason := self._refusal()) is not None and _HALTED in reason:
            raise NotReady(self.name, reason)
        return False

    def _refusal(self) -> str | None:
        return refusal(self.ready_url, self._certificate)

    def _did_not_start(self, why: str) -> DidNotStart:
        return DidNotStart(self.name, why, self._log, said_before=self._said_before)


class Supervisor:
    """Runs things in the order they are given, until told to stop."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._running: list[Runs] = []
        self._ended: dict[str, deque[float]] = {}

    def start(self, thing: Runs) -> None:
        """Start it, and watch it from now on."""
        # Listed first, so that one which fails half-way is stopped with the others.
        self._running.append(thing)
        try:
            thing.start()
        except NotReady as waiting:
            self._note(str(waiting))

    def watch(self, told: threading.Event) -> None:
        """Start again what ends, until ``told``; raises ``StackError`` if that is in vain."""
        while not told.wait(_WATCH_SECONDS):
            for thing in self._running:
                if not thing.alive() and not told.is_set():
                    self._restart(thing, told)

    def stop(self, *, together: int) -> None:
        """Stop everything in reverse; the first ``together`` things stop at the same time.

        Those are the servers, which need nothing of each other: services drain into them first.
        """
        services, servers = self._running[together:], self._running[:together]
        for group in (services, servers):
            if group:
                with ThreadPoolExecutor(len(group)) as pool:
                    list(pool.map(lambda thing: thing.stop(), group))
        self._running.clear()

    def _restart(self, thing: Runs, told: threading.Event) -> None:
        times = self._ended.setdefault(thing.name, deque(maxlen=_RESTARTS_MAX))
        now = time.monotonic()
        if len(times) == _RESTARTS_MAX and now - times[0] < _RESTARTS_WINDOW_SECONDS:
            raise StackError(
                f"the {thing.name} ended {_RESTARTS_MAX + 1} times in a minute; its log tells why"
            )
        times.append(now)
        self._note(f"the {thing.name} ended; starting again")
        try:
            thing.start()
        except (DidNotStart, NotReady) as error:
            self._note(str(error))
        except OSError as error:
            # A full disk, which leaves no room for a pid file: it is tried until there is some.
            times.pop()
            self._note(f"the {thing.name} cannot be started: {error}; trying again")
            told.wait(_PAUSE_SECONDS)
        else:
            self._note(f"the {thing.name} started again")
