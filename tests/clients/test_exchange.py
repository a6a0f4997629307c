"""How a request is carried through, without any I/O: each answer that may come, and the clock."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, TypeVar

import pytest
from wallet_client import OutcomeUnknown, Policy, Unavailable
from wallet_client.errors import BadRequest, InsufficientFunds, UnexpectedAnswer
from wallet_client.exchange import Call, Lost, Pause, Reply, exchange
from wallet_client.requests import Request, balance, command, lock

T = TypeVar("T")

ID = "00000100-0300-8000-8000-0000f0000000"
BALANCE = {
    "user_id": ID, "available": "1", "locked": "0", "bids": "0", "escrow": "0", "pending": "0",
    "shortfall": "0", "frozen": False, "version": 1, "updated_at": "2026-01-01T00:00:00.000Z",
}  # fmt: skip
RESULT = {"reference_type": "auction", "reference_id": "7", "amount": "1", "locked": "1"}
ANSWER = {"command_id": ID, "result": RESULT, "balance": BALANCE}


def bid() -> Request[Any]:
    return lock("a user", "1", "auction", "7", idempotency_key="bid")


def ok(document: object, status: int = 200, **headers: str) -> Reply:
    return Reply(status, headers, json.dumps(document).encode())


def problem(code: str, status: int, **headers: str) -> Reply:
    document = {
        "type": "", "title": "", "status": status, "detail": "no", "instance": "", "code": code,
        "command_id": ID,
    }  # fmt: skip
    return Reply(status, headers, json.dumps(document).encode())


class Line:
    """Answers in turn, and keeps what was done; pauses take no time but on its clock."""

    def __init__(self, *answers: Reply | Lost) -> None:
        self.answers = list(answers)
        self.calls: list[Call] = []
        self.pauses: list[float] = []
        self.time = 0.0

    def carry(self, request: Request[T], **policy: Any) -> T:
        """Carry a request through."""
        talk = exchange(request, Policy(chance=lambda: 1.0, **policy), lambda: self.time)
        came: Reply | Lost | None = None
        while True:
            try:
                step = talk.send(came)
            except StopIteration as end:
                found: T = end.value
                return found
            came = None
            if isinstance(step, Pause):
                self.pauses.append(step.seconds)
                self.time += step.seconds
            else:
                self.calls.append(step)
                came = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def keys(self) -> set[object]:
        """Under which keys it was sent."""
        return {call.headers.get("Idempotency-Key") for call in self.calls}


@pytest.mark.parametrize(
    "failures",
    [
        [Lost("no route", sent=False)],
        [Lost("the line broke", sent=True), Lost("the line broke", sent=True)],
        [problem("outcome_unknown", 503), problem("internal_error", 500)],
        [problem("rate_limited", 429)],
        [Reply(502, {}, b"<html>")],
    ],
)
def test_it_is_sent_again_with_the_same_key_and_body(failures: Iterable[Reply | Lost]) -> None:
    line = Line(*failures, ok(ANSWER))
    assert line.carry(bid()).balance.available == 1
    assert line.keys() == {'"bid"'}
    assert len({call.body for call in line.calls}) == 1


def test_an_empty_key_is_sent_as_it_is_and_refused() -> None:
    line = Line(problem("idempotency_key_missing", 400))
    with pytest.raises(BadRequest):
        line.carry(lock("a user", "1", "auction", "7", idempotency_key=""))
    assert line.keys() == {b""}


def test_an_id_stays_one_part_of_its_path() -> None:
    line = Line(ok(BALANCE))
    with pytest.raises(UnexpectedAnswer):
        line.carry(command("../balance?at=x"))
    assert line.calls[0].path.endswith("/commands/..%2Fbalance%3Fat%3Dx")


def test_pauses_double_up_to_the_most() -> None:
    line = Line(*[Lost("away", sent=False)] * 5, ok(ANSWER))
    line.carry(bid(), pause_seconds=1.0, pause_most_seconds=5.0)
    assert line.pauses == [2.0, 4.0, 5.0, 5.0, 5.0]


def test_it_waits_as_long_as_it_is_told() -> None:
    line = Line(problem("rate_limited", 429, **{"retry-after": "7"}), ok(ANSWER))
    line.carry(bid())
    assert line.pauses == [7.0]


def test_what_was_certainly_not_sent_is_unavailable() -> None:
    for answer in (problem("broker_unavailable", 503), Lost("no route", sent=False)):
        with pytest.raises(Unavailable) as away:
            Line(answer).carry(bid())
        assert away.value.idempotency_key == "bid"


@pytest.mark.parametrize(
    "answers",
    [
        [Lost("the line broke", sent=True), Lost("no route", sent=False)],
        [problem("outcome_unknown", 503), problem("rate_limited", 429)],
        [Reply(200, {}, b"<html>")],
        [Reply(302, {}, b"")],
    ],
)
def test_one_doubtful_attempt_makes_the_outcome_unknown(answers: list[Reply | Lost]) -> None:
    with pytest.raises(OutcomeUnknown, match="retry with the same key bid"):
        Line(*answers).carry(bid())


def test_a_later_outcome_is_asked_for_until_it_is_there() -> None:
    pending = {"command_id": ID, "outcome": "pending"}
    line = Line(
        ok(pending, 202, **{"retry-after": "1"}),
        ok(pending),
        problem("database_unavailable", 503),
        ok({**ANSWER, "outcome": "accepted"}),
    )
    assert line.carry(bid()).command_id == ID
    assert [call.method for call in line.calls] == ["POST", "GET", "GET", "GET"]
    assert line.calls[1].path.endswith(f"/commands/{ID}")
    assert line.pauses[0] == 1.0


def test_a_later_refusal_is_raised_as_an_early_one() -> None:
    refused = json.loads(problem("insufficient_funds", 402).body)
    line = Line(
        ok({"command_id": ID}, 202),
        ok({"command_id": ID, "outcome": "rejected", "problem": refused}),
    )
    with pytest.raises(InsufficientFunds) as early:
        line.carry(bid())
    assert early.value.command_id == ID


def test_an_outcome_that_stays_away_is_unknown_with_its_command() -> None:
    pending = ok({"command_id": ID, "outcome": "pending"}, 202)
    with pytest.raises(OutcomeUnknown) as unknown:
        Line(pending, ok({"command_id": ID, "outcome": "pending"})).carry(bid())
    assert unknown.value.command_id == ID


def test_a_reading_call_that_made_something_first_reads_again() -> None:
    line = Line(
        ok({"command_id": ID}, 202), ok({"command_id": ID, "outcome": "accepted"}), ok(BALANCE)
    )
    assert line.carry(balance()).available == 1
    assert line.keys() == {None}


def test_a_reading_call_is_never_unknown() -> None:
    with pytest.raises(Unavailable):
        Line(Lost("the line broke", sent=True)).carry(balance())
    with pytest.raises(UnexpectedAnswer):
        Line(Reply(200, {}, b"<html>")).carry(balance())


def test_no_attempt_outlasts_the_deadline() -> None:
    line = Line(Lost("slow", sent=False))
    with pytest.raises(Unavailable):
        line.carry(bid(), deadline_seconds=10.0, attempt_seconds=8.0)
    assert line.calls[0].timeout_seconds == 8.0
    assert line.calls[-1].timeout_seconds < 8.0
    assert line.time < 10.0


def test_a_proxys_refusal_is_a_bad_request() -> None:
    with pytest.raises(BadRequest, match="http_413"):
        Line(Reply(413, {}, b"<html>")).carry(bid())
