"""Commands and their outcomes find each other, whichever is known first."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wallet_client.errors import WalletError
from wallet_client.events import Event
from wallet_client.ids import Place, command_id
from wallet_client.kafka.outcomes import Registry, Spot, rejection_in

USER = "5b2cf6a8-7f35-4a38-9a53-0b9c1f6f8f10"


class Waiter:
    """A command that wants to know."""

    def __init__(self, key: str = "bid") -> None:
        self.user_id = USER
        self.idempotency_key = key
        self.told: list[Event | WalletError] = []

    def settle(self, outcome: Event | WalletError) -> None:
        """Here it is."""
        self.told.append(outcome)


def event_of(spot: Spot, key: str | None = "bid", code: str | None = None) -> bytes:
    ident = command_id(Place(spot.topic, 1, spot.partition, spot.offset))
    document = {
        "id": f"event of {ident}", "type": "command.replayed", "subject": USER,
        "time": "2026-01-01T00:00:00.000Z", "sequence": 1, "causationid": ident,
        "data": {
            "first_command_id": ident, "outcome": "rejected" if code else "accepted",
            "code": code, "idempotency_key": "bid",
        },
    }  # fmt: skip
    return json.dumps(document | ({} if key is None else {"idempotencykey": key})).encode()


def letter_of(spot: Spot) -> bytes:
    facts = {"id": "an id", **spot._asdict(), "code": "amount_zero", "detail": "more"}
    return json.dumps(facts).encode()


@given(st.permutations(["sent 0", "sent 1", "event 0", "event 1"]))
def test_two_records_under_one_key_each_get_their_own_event(steps: list[str]) -> None:
    registry = Registry()
    waiters = [Waiter(), Waiter()]
    spots = [Spot(0, 3, 41), Spot(0, 3, 42)]
    for waiter in waiters:
        registry.expect(waiter)
    for step in steps:
        what, number = step.split()
        if what == "sent":
            registry.delivered(waiters[int(number)], spots[int(number)])
        else:
            registry.told(event_of(spots[int(number)]), 0, 0)
    for waiter, spot in zip(waiters, spots, strict=True):
        (event,) = waiter.told
        assert isinstance(event, Event)
        assert event.causationid == command_id(Place(0, 1, spot.partition, spot.offset))
    assert registry.idle()


@pytest.mark.parametrize("first", ["delivery", "letter"])
def test_a_dead_letter_finds_its_command(first: str) -> None:
    registry = Registry()
    waiter = Waiter()
    registry.expect(waiter)
    spot = Spot(0, 3, 41)
    if first == "delivery":
        registry.delivered(waiter, spot)
    registry.buried(letter_of(spot))
    registry.buried(letter_of(Spot(0, 3, 44)))
    if first == "letter":
        registry.delivered(waiter, spot)
    assert [str(fault) for fault in waiter.told] == ["amount_zero: more"]
    assert registry.idle()


@pytest.mark.parametrize("key", ["another", None])
def test_events_of_others_are_not_kept(key: str | None) -> None:
    registry = Registry()
    registry.expect(Waiter())
    registry.told(event_of(Spot(0, 3, 41), key), 0, 0)
    late = Waiter()
    registry.expect(late)
    registry.delivered(late, Spot(0, 3, 41))
    assert late.told == []


def test_a_command_that_was_not_sent_leaves_nothing_behind() -> None:
    registry = Registry()
    waiter = Waiter()
    registry.expect(waiter)
    registry.told(event_of(Spot(0, 3, 41)), 0, 0)
    registry.forget(waiter)
    assert registry.idle()


def test_a_replay_of_a_rejection_is_a_rejection() -> None:
    registry = Registry()
    waiter = Waiter()
    registry.expect(waiter)
    registry.delivered(waiter, Spot(0, 3, 41))
    registry.told(event_of(Spot(0, 3, 41), code="wallet_frozen"), 0, 0)
    (event,) = waiter.told
    assert isinstance(event, Event)
    assert str(rejection_in(event)).startswith("wallet_frozen")
