"""Finds litecoind, and installs it where that is one command: `make test` calls this first.

Litecoin's node is an independent engine that takes our scripts and signatures; Debian packages
it. Without it, the tests that need it say so and are skipped, or fail where TEST_REQUIRE_NODE
is set.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

#: What the package installs; the command on the path is a wrapper around it.
INSTALLED: Final = Path("/usr/lib/litecoin/litecoind")
REQUIRE: Final = "TEST_REQUIRE_NODE"
_APT: Final = (
    "apt-get",
    "-qq",
    "-y",
    "-o",
    "Acquire::Retries=1",
    "-o",
    "Acquire::http::Timeout=10",
)
_PATIENCE_SECONDS: Final = 180


def find() -> Path | None:
    """The node's program, or None."""
    if INSTALLED.exists():
        return INSTALLED
    found = shutil.which("litecoind")
    return None if found is None else Path(found)


def required() -> bool:
    """Whether a test without its node fails instead of being skipped."""
    return os.environ.get(REQUIRE, "") not in ("", "0")


def install() -> str | None:
    """Install it by apt; None if it is there, else why not."""
    if find() is not None:
        return None
    if shutil.which("apt-get") is None:
        return "there is no apt-get here"
    if os.geteuid() != 0:
        return "only root may: `apt-get install litecoind`"
    tail = ""
    # The lists of a fresh container are empty, those of a machine in use are not.
    for fetch in (False, True):
        if fetch:
            _run([*_APT, "update"])
        tail = _run([*_APT, "install", "--no-install-recommends", "litecoind"])
        if find() is not None:
            return None
    return tail


def _run(argv: list[str]) -> str:
    """Run, and give the last line of what it says."""
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            env=environment,
            timeout=_PATIENCE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"{argv[0]} took more than {_PATIENCE_SECONDS} s"
    lines = (done.stderr + done.stdout).strip().splitlines()
    return lines[-1] if lines else f"{argv[0]} ended with {done.returncode}"


def main() -> int:
    """Install it if it is missing; 1 if it is missing and required."""
    why = install()
    if why is None:
        return 0
    print(f"litecoind is missing ({why}): the tests on a real node will be skipped")
    return int(required())


if __name__ == "__main__":
    sys.exit(main())
