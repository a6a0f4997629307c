"""A script made in advance: the same from the same seed, and decided as it foretells."""

from __future__ import annotations

import time
from collections import Counter
from itertools import islice

import msgspec
import pytest

from schemas.envelope import Envelope, read_command
from schemas.events import CloudEvent, EventType
from schemas.ids import place_of
from schemas.records import DepositAddress
from schemas.rejections import Malformed
from streams.loadgen.market import MIX
from streams.loadgen.pieces import ACCEPTED, REPLAYED, Shares
from streams.loadgen.plan import Layout, PlannedCommand, Script, marketplace
from tests.streams.loadgen.arena import PARTITIONS, Arena

COUNT = 4_000


def outcome_of(event: CloudEvent) -> str:
    match event.type:
        case EventType.COMMAND_REPLAYED:
            return REPLAYED
        case EventType.COMMAND_REJECTED:
            code: str = msgspec.json.decode(event.data)["code"]
            return code
    return ACCEPTED


def play(arena: Arena, commands: list[PlannedCommand]) -> dict[tuple[int, int, int], str]:
    """Send and decide all; place to what became of it."""
    for command in commands:
        arena.append(command.topic, command.key, command.value)
    outcomes = {}
    for item in arena.decide_all():
        if not isinstance(item, CloudEvent):
            outcomes[item.topic, item.partition, item.offset] = item.code
        elif item.type != EventType.SALE_CREDITED:
            place, _ = place_of(item.causationid)
            outcomes[place.topic, place.partition, place.offset] = outcome_of(item)
    return outcomes


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("shares", [Shares(), Shares(0.05, 0.03, 0.02)], ids=["clean", "dirty"])
def test_every_outcome_is_foretold_however_the_topics_interleave(seed: int, shares: Shares) -> None:
    script = Script(seed, 40, Layout(PARTITIONS), shares)
    arena = Arena(script.players, seed)
    arena.books.load(
        DepositAddress(
            address=player.address,
            user_id=player.user_id,
            account_key="0123456789abcdef",
            derivation_index=player.number,
            assigned_at=0,
        )
        for player in script.players
    )
    places = Layout(PARTITIONS)
    for commands in (list(script.funding()), list(islice(script.marketplace(), COUNT))):
        expected = {places.place(each.topic, each.key): each.expected for each in commands}
        assert play(arena, commands) == expected
    if shares == Shares():
        assert set(expected.values()) == {ACCEPTED}
    else:
        assert {ACCEPTED, REPLAYED, "insufficient_funds", "key_reused"} < set(expected.values())


def test_the_same_seed_gives_the_same_bytes_and_another_others() -> None:
    one, again, other = (list(islice(marketplace(seed, 10), 500)) for seed in (7, 7, 8))
    assert one == again
    assert one != other


def test_the_mix_is_the_documented_one() -> None:
    script = Script(5, 200, Layout(PARTITIONS))
    count = 40_000
    seen = Counter(
        msgspec.json.decode(command.value, type=Envelope).type
        for command in islice(script.marketplace(), count)
    )
    assert sum(MIX.values()) == 1000
    assert set(seen) == set(MIX)
    for kind, share in MIX.items():
        assert seen[kind] / count == pytest.approx(share / 1000, abs=0.006)


def test_every_record_can_be_read_unless_it_is_meant_not_to() -> None:
    script = Script(6, 20, Layout(PARTITIONS), Shares(malformed=0.3))
    for command in islice(script.marketplace(), 2_000):
        try:
            read = read_command(command.topic, command.key, command.value)
        except Malformed as fault:
            assert fault.code == command.expected
        else:
            assert command.expected == ACCEPTED
            assert read.user_id == command.user_id


def test_a_layout_counts_each_partition_from_its_end_on() -> None:
    script = Script(9, 30, Layout(PARTITIONS))
    list(script.funding())
    layout = Layout(PARTITIONS, ends={(0, 2): 17})
    assert layout.ends[0, 2] == 17
    offsets: dict[tuple[int, int], list[int]] = {}
    for command in islice(script.marketplace(), 1_000):
        topic, partition, offset = layout.place(command.topic, command.key)
        offsets.setdefault((topic, partition), []).append(offset)
    for place, seen in offsets.items():
        first = 17 if place == (0, 2) else 0
        assert seen == list(range(first, first + len(seen)))


def test_a_script_is_made_fast_enough_to_load_a_bench() -> None:
    # Alone on one core it makes 50,000 and more a second.
    script = Script(10, 5_000, Layout(PARTITIONS))
    started = time.process_time()
    made = sum(1 for _ in islice(script.marketplace(), 20_000))
    assert made / (time.process_time() - started) > 10_000
