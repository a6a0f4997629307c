"""A bridge that is killed by its own hand: ``python -m tests.streams.bridge.killed STEP AFTER``."""

from __future__ import annotations

import sys

from schemas.settings import Settings
from streams import logs
from streams.bridge.bridge import Bridge
from tests.crash.process import Fuse

if __name__ == "__main__":
    step, after = sys.argv[1:]
    settings = Settings.from_environ()
    logs.configure("bridge", settings.log_level)
    Bridge(settings, step=Fuse(step, "SIGKILL", int(after))).run()
