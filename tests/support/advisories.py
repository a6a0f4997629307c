"""Asks for known holes in what the lock file pins: `make check` calls this last.

    python -m tests.support.advisories [--strict]

pip-audit asks PyPI's own list of advisories. A hole that is found fails the check. Where nobody can
be asked, that is said, loudly, and fails `make audit` (--strict) alone: a check without a network
must still be able to pass, and must not look as if it had found nothing.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final, NamedTuple

ROOT: Final = Path(__file__).parent.parent.parent
LOCK: Final = ROOT / "requirements.lock"
#: An advisory's id to the reason why we live with it, for as long as there is no release without.
ACCEPTED: Final[dict[str, str]] = {}
_PATIENCE_SECONDS: Final = 120


class Verdict(NamedTuple):
    """What was found out."""

    asked: int
    holes: list[str]
    #: Packages that nobody knew anything about.
    unknown: list[str]


def verdict(report: dict[str, Any]) -> Verdict:
    """Of pip-audit's report; an advisory that is accepted is no hole."""
    asked, holes, unknown = 0, [], []
    for dependency in report["dependencies"]:
        if "vulns" not in dependency:
            unknown.append(dependency["name"])
            continue
        asked += 1
        holes += [
            f"{dependency['name']} {dependency['version']}: {hole['id']},"
            f" mended in {', '.join(hole['fix_versions']) or 'no release yet'}"
            for hole in dependency["vulns"]
            if hole["id"] not in ACCEPTED
        ]
    return Verdict(asked, holes, unknown)


def told(found: Verdict, *, strict: bool) -> tuple[int, str]:
    """Exit code and text."""
    if found.holes:
        return 1, "\n".join(["known holes in what we depend on:", *found.holes])
    if not found.unknown:
        return 0, f"no known holes in {found.asked} packages"
    if found.asked:
        names = ", ".join(found.unknown)
        return int(strict), f"no known holes in {found.asked} packages; NOT ASKED ABOUT: {names}"
    return (
        int(strict),
        f"NOT AUDITED: none of {len(found.unknown)} packages could be asked about; "
        "run `make audit` where PyPI's advisories are reached",
    )


def report() -> dict[str, Any] | str:
    """pip-audit's own report, or why there is none."""
    argv = [sys.executable, "-m", "pip_audit", "--requirement", str(LOCK), "--require-hashes"]
    argv += ["--disable-pip", "--progress-spinner", "off", "--format", "json", "--desc", "off"]
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, check=False, timeout=_PATIENCE_SECONDS
        )
    except subprocess.TimeoutExpired:
        return f"no answer in {_PATIENCE_SECONDS} s"
    try:
        read: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        return (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1]
    return read


def main(arguments: list[str]) -> int:
    """Ask, and tell."""
    strict = arguments == ["--strict"]
    read = report()
    if isinstance(read, str):
        print(f"NOT AUDITED: {read}", file=sys.stderr)
        return int(strict)
    code, text = told(verdict(read), strict=strict)
    print(text, file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
