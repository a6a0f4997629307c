"""A crash at each step of the payer, one after the other: the next one pays once all the same."""

from __future__ import annotations

import pytest

from db.treasury.payouts import opened, take_lock
from streams.local.node.mining import Plan
from tests.conftest import Database, Databases
from tests.streams.payer.fuzz import Crashed, Field, field_on
from tests.streams.payer.world import World, world_on
from tests.support.books import doge


def _story(world: World, crash_at: int) -> tuple[list[str], str, int]:
    """Pay one withdrawal, with a reorganisation, and end the payer at one step on the way."""
    seen: list[str] = []

    def step(name: str) -> None:
        seen.append(name)
        if len(seen) == crash_at:
            raise Crashed(name)

    world.deposit(100)
    address = world.elsewhere()
    withdrawal = world.request(10, address=address)
    world.step = step
    for round_number in range(10):
        try:
            world.payer.run_once()
        except Crashed:
            world.payer = world.start_payer()
        world.deliver()
        if round_number == 6:
            world.node.reorganise(3, [Plan(txids=())] * 4)
            world.follower.follow()
        elif round_number > 2:
            world.mine()
    world.settle_all()
    assert world.is_settled()
    return seen, world.withdrawal(withdrawal)[0], world.paid_on_chain().get(address, 0)


@pytest.mark.slow
def test_a_crash_at_any_step_pays_once(databases: Databases) -> None:
    with field_on(databases) as field:
        steps = _in_world(field, 0)
        wanted = {"send", "sent", "signed", "reserve", "claim", "store what is signed", "judge"}
        assert wanted <= set(steps)
        # The first time of each step, and a sample of those after it.
        first = {steps.index(name) + 1 for name in set(steps)}
        crashes = sorted(first | set(range(1, len(steps) + 1, 9)))
        for crash_at in crashes:
            _in_world(field, crash_at)
    print(f"\n{len(crashes)} crashes at {len(first)} steps")


def _in_world(field: Field, crash_at: int) -> list[str]:
    world = field.world()
    try:
        seen, status, paid = _story(world, crash_at)
    finally:
        world.close()
    where = seen[crash_at - 1] if crash_at else "nowhere"
    assert (status, paid) == ("CONFIRMED", doge(10)), f"crash {crash_at}: {where}"
    return seen


def test_a_second_payer_waits_for_the_first(database: Database) -> None:
    with world_on(database) as world:
        assert take_lock(world.paying)
        other = opened(database.payer_url)
        assert not take_lock(other)
        world.paying.execute("SELECT pg_advisory_unlock_all()")
        assert take_lock(other)
        other.close()
