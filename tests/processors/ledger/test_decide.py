"""The table of contents: every command is in it, and each decision comes out the same again."""

from __future__ import annotations

import inspect

import pytest

from processors.ledger.decide import DECISIONS, decide
from processors.ledger.model import Acceptance, Refusal, Request
from schemas.commands import DATA_OF, LockFunds, OpenWallet
from schemas.events import RESULT_OF, EventType
from schemas.rejections import Rejection
from tests.support.books import ANN, START, Ledger, doge


def test_every_command_is_decided_and_nothing_else() -> None:
    assert set(DECISIONS) == set(DATA_OF.values())


def test_each_command_is_decided_by_the_function_of_its_name() -> None:
    names = {kind.value: DECISIONS[data].__name__ for kind, data in DATA_OF.items()}
    assert names == {name: name for name in names}


def test_each_decision_takes_its_own_commands_data() -> None:
    for data, decision in DECISIONS.items():
        taken = inspect.signature(decision).parameters["data"].annotation
        assert taken == data.__name__


def test_a_decision_changes_nothing_and_comes_out_the_same_again() -> None:
    ledger = Ledger()
    ledger.fund(10)
    data = LockFunds(amount=doge(4), reference_type="auction", reference_id="7")
    request = Request("00000000-0000-8000-8000-000000000000", ANN, data, START)
    before = ledger.state()
    first, second = (decide(request, ledger.books) for _ in range(2))
    assert isinstance(first, Acceptance)
    assert first == second
    assert ledger.state() == before


def test_a_refusal_says_what_is_there_and_what_is_needed() -> None:
    ledger = Ledger()
    ledger.fund(10)
    decision = ledger.do(LockFunds(amount=doge(12.5), reference_type="a", reference_id="b"))
    assert decision == Refusal(
        Rejection.INSUFFICIENT_FUNDS,
        "10.00000000 DOGE are available, 12.50000000 are needed.",
    )


def test_what_is_no_command_is_a_fault_of_the_program() -> None:
    class Unknown(OpenWallet, frozen=True):
        """Not in the table, though its parent is."""

    with pytest.raises(KeyError):
        decide(Request("id", ANN, Unknown(), START), Ledger().books)


def test_every_event_of_an_acceptance_has_a_result() -> None:
    assert set(RESULT_OF) | {EventType.COMMAND_REJECTED, EventType.COMMAND_REPLAYED} == set(
        EventType
    )
