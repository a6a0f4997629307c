"""Ids: a record's place in the log and back, rising with the offset."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.ids import (
    EVENT_LEG,
    LEG_MAX,
    Place,
    bytes_of,
    command_number,
    number_of,
    place_of,
    slice_base,
    text_of,
)
from schemas.ledger import HOUSE

places = st.builds(
    Place,
    topic=st.integers(0, 255),
    generation=st.integers(0, 2**16 - 1),
    partition=st.integers(0, 2**16 - 1),
    offset=st.integers(0, 2**56 - 1),
)
legs = st.integers(0, LEG_MAX)


@example(Place(255, 2**16 - 1, 2**16 - 1, 2**56 - 1), LEG_MAX)
@given(places, legs)
def test_a_place_and_leg_survive_being_written_and_read(place: Place, leg: int) -> None:
    text = text_of(number_of(place, leg))
    assert place_of(text) == (place, leg)
    assert str(uuid.UUID(text)) == text
    assert uuid.UUID(text).version == 8
    assert uuid.UUID(text).variant == uuid.RFC_4122
    assert bytes_of(text) == uuid.UUID(text).bytes


@given(places, places, legs, legs)
def test_ids_are_ordered_as_places_are(one: Place, other: Place, leg: int, leg_too: int) -> None:
    ordered = (one, leg) < (other, leg_too)
    assert (number_of(one, leg) < number_of(other, leg_too)) is ordered
    assert (text_of(number_of(one, leg)) < text_of(number_of(other, leg_too))) is ordered


@pytest.mark.parametrize("offset", [0, 2**36 - 1, 2**48 - 1])
def test_ids_rise_where_the_offset_crosses_a_field(offset: int) -> None:
    base = slice_base(2, 1, 11)
    assert command_number(base, offset) + LEG_MAX < command_number(base, offset + 1)


@given(places)
def test_the_events_of_a_command_stand_behind_its_entries(place: Place) -> None:
    command = number_of(place)
    assert command < command + 1 < command + EVENT_LEG <= command + LEG_MAX
    assert place_of(text_of(command + EVENT_LEG)) == (place, EVENT_LEG)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not an id",
        "5b2cf6a8-7f35-4a38-9a53-0b9c1f6f8f10",
        str(uuid.UUID(int=0)),
        text_of(number_of(Place(0, 1, 0, 0)))[:-1],
        text_of(number_of(Place(0, 1, 0, 0))) + "0",
        text_of(number_of(Place(0, 1, 0, 0))).upper() + "\n",
        # Version 9, and variants that are not RFC 9562's.
        "00000100-0000-9000-8000-000000000000",
        "00000100-0000-8000-0000-000000000000",
        "00000100-0000-8000-c000-000000000000",
        "00000100_0000_8000_8000_000000000000",
        " 0000100-0000-8000-8000-000000000000",
        "000001000-000-8000-8000-000000000000",
        "f" * 36,
    ],
)
def test_what_is_no_id_of_ours_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        place_of(text)


def test_the_house_is_told_from_any_random_user() -> None:
    # Version 8, so that no library that draws a version 4 or 7 can come upon it.
    assert uuid.UUID(HOUSE).version == 8
