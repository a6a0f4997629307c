"""Amounts: decimal text of DOGE outside, whole koinu inside, and nothing in between."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.amounts import (
    AMOUNT_PATTERN,
    KOINU_MAX,
    KOINU_PER_DOGE,
    format_amount,
    parse_amount,
    parse_share,
)
from schemas.rejections import Malformed, Rejection


@given(st.integers(min_value=1, max_value=KOINU_MAX))
def test_every_amount_survives_being_written_and_read(koinu: int) -> None:
    text = format_amount(koinu)
    assert re.search(AMOUNT_PATTERN, text)
    assert parse_amount(text) == parse_share(text) == koinu
    assert Decimal(text) * KOINU_PER_DOGE == koinu


@given(st.integers(min_value=0, max_value=KOINU_MAX), st.integers(min_value=0, max_value=8))
def test_trailing_zeros_do_not_matter(koinu: int, kept: int) -> None:
    text = format_amount(koinu)
    shorter = text[: len(text) - 8 + kept].rstrip(".")
    if set(text[len(text) - 8 + kept :]) <= {"0"}:
        assert parse_share(shorter) == koinu


@given(st.integers(max_value=-1))
def test_negative_koinu_are_written_with_a_sign(koinu: int) -> None:
    assert format_amount(koinu) == "-" + format_amount(-koinu)


@given(st.text(max_size=24))
def test_any_text_is_an_amount_or_has_a_named_fault(text: str) -> None:
    try:
        koinu = parse_share(text)
    except Malformed as fault:
        assert fault.code.value.startswith("amount_")
    else:
        assert 0 <= koinu <= KOINU_MAX
        assert Decimal(text) * KOINU_PER_DOGE == koinu


@pytest.mark.parametrize(
    ("text", "koinu"),
    [
        ("0.00000001", 1),
        ("1", KOINU_PER_DOGE),
        ("1.0", KOINU_PER_DOGE),
        ("12.5", 1_250_000_000),
        ("12.50000000", 1_250_000_000),
        ("0.1", 10_000_000),
        ("92233720368.54775807", KOINU_MAX),
    ],
)
def test_well_formed_amounts(text: str, koinu: int) -> None:
    assert parse_amount(text) == koinu


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", Rejection.AMOUNT_MALFORMED),
        (" 1", Rejection.AMOUNT_MALFORMED),
        ("1 ", Rejection.AMOUNT_MALFORMED),
        ("1\n", Rejection.AMOUNT_MALFORMED),
        ("+1", Rejection.AMOUNT_MALFORMED),
        (".5", Rejection.AMOUNT_MALFORMED),
        ("5.", Rejection.AMOUNT_MALFORMED),
        ("01", Rejection.AMOUNT_MALFORMED),
        ("00.5", Rejection.AMOUNT_MALFORMED),
        ("00.12345678", Rejection.AMOUNT_MALFORMED),
        ("1e3", Rejection.AMOUNT_MALFORMED),
        ("1_000", Rejection.AMOUNT_MALFORMED),
        ("1,000.00", Rejection.AMOUNT_MALFORMED),
        ("0x10", Rejection.AMOUNT_MALFORMED),
        ("NaN", Rejection.AMOUNT_MALFORMED),
        ("Infinity", Rejection.AMOUNT_MALFORMED),
        ("١٢", Rejection.AMOUNT_MALFORMED),
        ("1.2.3", Rejection.AMOUNT_MALFORMED),
        ("--1", Rejection.AMOUNT_MALFORMED),
        ("-1", Rejection.AMOUNT_NEGATIVE),
        ("-0", Rejection.AMOUNT_NEGATIVE),
        ("-1.000000001", Rejection.AMOUNT_NEGATIVE),
        ("0.000000001", Rejection.AMOUNT_TOO_PRECISE),
        ("1.000000000", Rejection.AMOUNT_TOO_PRECISE),
        ("92233720368.54775808", Rejection.AMOUNT_TOO_LARGE),
        ("100000000000", Rejection.AMOUNT_TOO_LARGE),
        ("9" * 400, Rejection.AMOUNT_TOO_LARGE),
        ("0", Rejection.AMOUNT_ZERO),
        ("0.0", Rejection.AMOUNT_ZERO),
        ("0.00000000", Rejection.AMOUNT_ZERO),
    ],
)
def test_each_fault_of_an_amount_has_its_code(text: str, code: Rejection) -> None:
    with pytest.raises(Malformed) as refused:
        parse_amount(text)
    assert refused.value.code is code


def test_a_share_may_be_zero() -> None:
    assert parse_share("0") == parse_share("0.00000000") == 0
