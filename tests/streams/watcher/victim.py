"""The watcher as a process that kills itself, as by ``kill -9``, at a step of the caller's choice.

``python -m tests.streams.watcher.victim STEP TIMES GENESIS``
"""

from __future__ import annotations

import os
import signal
import sys

from schemas.settings import Settings
from streams import logs
from streams.watcher.process import run_watcher


def main() -> None:
    """Run until the step is met for the last time; GENESIS is the first block's hash."""
    step, times, genesis = sys.argv[1:]
    left = int(times)

    def fuse(name: str) -> None:
        nonlocal left
        if name == step:
            left -= 1
            if left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

    logs.configure("watcher")
    run_watcher(Settings.from_environ(), genesis_hash=genesis, announce=print, step=fuse)


if __name__ == "__main__":
    main()
