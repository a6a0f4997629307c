"""What the examples in other languages need, fetched once for every clone of this user."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from streams.local.jars import cache
from tests.test_house import ROOT

JAVA: Final = ROOT / "examples/java-producer"
NODE: Final = ROOT / "examples/node-consumer"
_FETCH_SECONDS: Final = 300


def missing(*programs: str) -> str:
    """Why an example cannot be run here; empty if it can."""
    absent = [program for program in programs if shutil.which(program) is None]
    return f"{', '.join(absent)} is not on this machine" if absent else ""


def jars() -> Path:
    """The jars that the producer's pom names."""

    def fetch(folder: Path) -> None:
        _run(
            "mvn",
            "--batch-mode",
            "--quiet",
            f"--file={JAVA / 'pom.xml'}",
            "dependency:copy-dependencies",
            f"-DoutputDirectory={folder}",
        )

    return _once("java-producer", (JAVA / "pom.xml").read_bytes(), fetch)


def modules() -> Path:
    """The modules that the consumer's lock names."""

    def fetch(folder: Path) -> None:
        folder.mkdir()
        for name in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy(NODE / name, folder)
        _run("npm", "ci", "--ignore-scripts", f"--prefix={folder}")

    locked = (NODE / "package-lock.json").read_bytes()
    return _once("node-consumer", locked, fetch) / "node_modules"


def _once(name: str, facts: bytes, fetch: Callable[[Path], None]) -> Path:
    folder = cache() / "examples" / f"{name}-{hashlib.sha256(facts).hexdigest()[:12]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "fetch.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(dir=folder.parent) as part:
                fetch(Path(part) / "made")
                (Path(part) / "made").rename(folder)
    return folder


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=_FETCH_SECONDS, check=False)
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
