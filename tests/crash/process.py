"""A worker process that comes to grief by its own hand at a named step.

    python -m tests.crash.process STEP ACTION AFTER

ACTION is SIGKILL, SIGSTOP or PAUSE, AFTER how often the step is passed unharmed. The settings are
those of the environment. Who is thawed, or told to go on by a line on its standard input, is a
worker like any other from there on. A pause is told by a line on the standard output.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

from schemas.settings import Settings
from streams import logs
from streams.kafka.consume import CommandConsumer
from streams.worker.process import run_worker

#: Not a step of the worker's own: records are fetched, and the batch is not yet taken as it is.
FILLING = "filling"


class Fuse:
    """Acts once, when the step has been passed unharmed so often."""

    def __init__(self, step: str, action: str, after: int) -> None:
        self._step = step
        self._action = action
        self._left = after
        self._told = threading.Event()

    def __call__(self, name: str) -> None:
        """The worker has come to a step."""
        if self.burns(name):
            if self._action == "PAUSE":
                self._wait()
            else:
                os.kill(os.getpid(), signal.Signals[self._action])

    def burns(self, name: str) -> bool:
        """Whether this is the time."""
        if name != self._step:
            return False
        self._left -= 1
        return self._left == -1

    def fill(self, consumer: CommandConsumer, messages: list[Any]) -> None:
        """Come to ``FILLING``; who pauses there polls, so that a rebalance is served meanwhile."""
        if self._action != "PAUSE":
            self(FILLING)
        elif self.burns(FILLING):
            threading.Thread(target=self._wait, daemon=True).start()
            while not self._told.is_set():
                message = consumer.poll(0.05)
                if message is not None:
                    messages.append(message)

    def _wait(self) -> None:
        print("paused", flush=True)
        sys.stdin.readline()
        self._told.set()


def _fill_by(fuse: Fuse) -> None:
    drain = CommandConsumer.drain

    def filling(self: CommandConsumer, most: int) -> Iterator[Any]:
        messages: list[Any] = list(drain(self, most))
        fuse.fill(self, messages)
        return iter(messages)

    CommandConsumer.drain = filling  # type: ignore[method-assign]


def main() -> None:
    """Run until the step, or until SIGTERM."""
    step, action, after = sys.argv[1:]
    settings = Settings.from_environ()
    logs.configure("worker", settings.log_level)
    fuse = Fuse(step, action, int(after))
    _fill_by(fuse)
    run_worker(settings, step=fuse)


if __name__ == "__main__":
    main()
