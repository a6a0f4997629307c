"""Every code has its status, and each problem tells a person what to do."""

from __future__ import annotations

import pytest

from api.problems import (
    REJECTIONS,
    STATUS_OF,
    Code,
    Fault,
    Problem,
    document_of,
    render,
    status_of,
)
from schemas.rejections import Rejection, is_dead_letter

CODES: list[Code] = [*Rejection, *Fault]


def test_every_rejection_has_a_status() -> None:
    assert set(STATUS_OF) == set(Rejection)
    assert set(REJECTIONS.values()) == set(Rejection)


def test_no_code_is_both_the_ledgers_and_the_apis() -> None:
    values = [code.value for code in CODES]
    assert len(values) == len(set(values))


@pytest.mark.parametrize("code", CODES, ids=str)
def test_a_problem_has_all_that_rfc_9457_names(code: Code) -> None:
    document = document_of(Problem(code), "/here")
    assert document.status == status_of(code)
    assert 400 <= document.status <= 599
    assert document.type == f"/docs#{code.value}"
    assert document.instance == "/here"
    assert document.title
    assert document.detail == code.line
    assert document.detail.endswith(".")


@pytest.mark.parametrize("code", list(Rejection), ids=str)
def test_a_refusal_of_a_command_is_never_the_servers_fault(code: Rejection) -> None:
    assert status_of(code) in {400, 402, 404, 409, 413, 422}
    if is_dead_letter(code):
        assert status_of(code) in {400, 413, 422}


def test_what_was_wrong_stands_before_what_to_do() -> None:
    document = document_of(Problem(Fault.BAD_PARAMETER, "'limit' is too large"), "/")
    assert document.detail.startswith("'limit' is too large. ")
    assert document.detail.endswith(Fault.BAD_PARAMETER.line)


def test_a_refused_token_challenges_its_bearer() -> None:
    response = render(Problem(Fault.TOKEN_INVALID), "/")
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="wallet", error="invalid_token"'
    assert render(Problem(Fault.TOKEN_MISSING), "/").headers["WWW-Authenticate"] == (
        'Bearer realm="wallet"'
    )


def test_a_rejection_with_a_detail_says_that_alone() -> None:
    problem = Problem(Rejection.BAD_ID, "The id in the path is not a canonical UUID")
    assert document_of(problem, "/").detail == "The id in the path is not a canonical UUID."
