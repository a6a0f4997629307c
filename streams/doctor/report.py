"""What the doctor has to say: a line for each check, and what was found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

#: Told of a check under way: its name, how far it is, and of how much (0 where nobody knows).
Progress = Callable[[str, int, int], None]


class Finding(NamedTuple):
    """Something that is not as it should be: by which check, of what, and how."""

    check: str
    subject: str
    detail: str


class LeftOut(Exception):
    """A check that was begun cannot be made; the text says why."""


@dataclass(frozen=True, kw_only=True)
class Examined:
    """One check as it came out; ``left_out`` says why it was not made."""

    check: str
    says: str
    subjects: int = 0
    #: All that is wrong, of which ``first`` tells some.
    wrong: int = 0
    first: tuple[Finding, ...] = ()
    seconds: float = 0.0
    left_out: str | None = None
    #: Worth knowing, and no finding.
    note: str | None = None


@dataclass(frozen=True, kw_only=True)
class Report:
    """Every check in the order in which they were made."""

    checks: list[Examined] = field(default_factory=list)

    @property
    def findings(self) -> list[Finding]:
        """What was found, the first of each check."""
        return [finding for check in self.checks for finding in check.first]

    @property
    def wrong(self) -> int:
        """How much is wrong in all."""
        return sum(check.wrong for check in self.checks)

    @property
    def clean(self) -> bool:
        """Whether nothing was found; what was left out is not known to be right."""
        return self.wrong == 0


class Tally:
    """Counts what a check goes through, and keeps the first findings."""

    def __init__(self, check: str, most: int) -> None:
        self.subjects = 0
        self.wrong = 0
        self.first: list[Finding] = []
        self.note: str | None = None
        self._check = check
        self._most = most

    def find(self, subject: str, detail: str) -> None:
        """Something is wrong."""
        self.wrong += 1
        if len(self.first) < self._most:
            self.first.append(Finding(self._check, subject, detail))
