"""How a refusal is written down in a table: what was before, what is asked, what is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from schemas.commands import Data
from schemas.rejections import Rejection
from tests.support.books import ANN, Ledger


class Refused(NamedTuple):
    """A sentence; what prepares a ledger and answers the command; the code; whose command."""

    sentence: str
    given: Callable[[Ledger], Data]
    code: Rejection
    user: str = ANN


def table(*cases: Refused) -> pytest.MarkDecorator:
    """One test a case, named by its sentence."""
    return pytest.mark.parametrize(
        "case", [pytest.param(case, id=case.sentence.replace(" ", "_")) for case in cases]
    )


def holds(case: Refused) -> None:
    """The command is refused with the code, and changes nothing."""
    ledger = Ledger()
    assert ledger.refuse(case.given(ledger), case.user) is case.code


def given(*steps: Callable[[Ledger], object], then: Data) -> Callable[[Ledger], Data]:
    """A command that comes after some steps."""

    def prepare(ledger: Ledger) -> Data:
        for step in steps:
            step(ledger)
        return then

    return prepare
