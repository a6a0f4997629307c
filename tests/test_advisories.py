"""The audit of dependencies: a hole fails it, and silence is not taken for a clean bill."""

from __future__ import annotations

from typing import Any, Final

import pytest

from tests.support import advisories
from tests.support.advisories import told, verdict

HOLE: Final = {"id": "PYSEC-1", "fix_versions": ["2.0"], "aliases": ["CVE-1"]}
SOUND: Final = {"name": "sound", "version": "1.0", "vulns": []}
HOLED: Final = {"name": "holed", "version": "1.0", "vulns": [HOLE]}
UNKNOWN: Final = {"name": "unheard", "skip_reason": "not found"}


def said(*dependencies: dict[str, Any], strict: bool = False) -> tuple[int, str]:
    return told(verdict({"dependencies": [*dependencies], "fixes": []}), strict=strict)


def test_a_hole_fails_the_check_and_says_where_it_is_mended() -> None:
    code, text = said(SOUND, HOLED, UNKNOWN)
    assert code == 1
    assert "holed 1.0: PYSEC-1, mended in 2.0" in text


def test_without_a_hole_it_passes() -> None:
    assert said(SOUND, SOUND) == (0, "no known holes in 2 packages")


def test_nobody_asked_is_said_and_fails_where_it_must_not_be() -> None:
    code, text = said(UNKNOWN, UNKNOWN)
    assert code == 0
    assert text.startswith("NOT AUDITED: none of 2 packages")
    assert said(UNKNOWN, strict=True)[0] == 1
    partly = said(SOUND, UNKNOWN)
    assert partly == (0, "no known holes in 1 packages; NOT ASKED ABOUT: unheard")
    assert said(SOUND, UNKNOWN, strict=True)[0] == 1


def test_an_accepted_advisory_is_no_hole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(advisories.ACCEPTED, "PYSEC-1", "not reached from here")
    assert said(HOLED) == (0, "no known holes in 1 packages")


def test_an_audit_that_cannot_run_is_said_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(advisories, "report", lambda: "no network")
    assert advisories.main([]) == 0
    assert advisories.main(["--strict"]) == 1
    assert capsys.readouterr().err.count("NOT AUDITED: no network") == 2
