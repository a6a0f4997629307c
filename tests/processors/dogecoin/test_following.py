"""The follower's steps over random forks, against a model that knows both chains whole."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.dogecoin.following import (
    BEHIND_MAX,
    Extend,
    Fork,
    Halt,
    Place,
    Rest,
    Sight,
    Undo,
    Wait,
    first_step,
    fork_step,
    next_step,
    obstacle,
)
from processors.dogecoin.networks import CHAINS

CHAIN = CHAINS["regtest"]
DEPTH_MAX = 6
AHEAD = 4


def sight(chain: list[str], **changes: Any) -> Sight:
    """What a well-behaved node with this chain says."""
    whole = Sight(
        core_name="regtest",
        genesis_hash=CHAIN.genesis_hash,
        height=len(chain) - 1,
        headers=len(chain) - 1,
        initial_download=False,
    )
    return whole._replace(**changes)


def at(chain: list[str], height: int) -> str | None:
    return chain[height] if height < len(chain) else None


class Upheaval(NamedTuple):
    """The node leaves its last ``depth`` blocks for ``growth`` others."""

    depth: int
    growth: int


upheavals = st.builds(
    lambda depth, more: Upheaval(depth, depth + more), st.integers(0, 9), st.integers(0, 5)
)


class Model:
    """Both chains as lists of hashes by height, and the follower between them."""

    def __init__(self, birthday: int) -> None:
        self.birthday = birthday
        self.node = ["genesis"]
        self.ours: list[str] = []
        self.made = 0

    def happen(self, upheaval: Upheaval) -> None:
        keep = max(len(self.node) - upheaval.depth, 1)
        del self.node[keep:]
        for _ in range(upheaval.growth):
            self.made += 1
            self.node.append(f"block {self.made}")

    @property
    def tip(self) -> Place | None:
        return Place(self.birthday + len(self.ours) - 1, self.ours[-1]) if self.ours else None

    def step(self) -> Rest | Extend | Undo | Wait | Halt:
        tip = self.tip
        if tip is None:
            ahead = [at(self.node, self.birthday + more) for more in range(AHEAD)]
            return first_step(self.birthday, ahead)
        step = next_step(tip, [at(self.node, tip.height + more) for more in range(AHEAD)])
        if not isinstance(step, Fork):
            return step
        newest = self.ours[::-1][: DEPTH_MAX + 1]
        theirs = [at(self.node, tip.height - back) for back in range(len(newest))]
        return fork_step(tip, newest, theirs, sight(self.node), DEPTH_MAX)


@settings(max_examples=400)
@given(st.integers(0, 4), st.lists(upheavals, max_size=12))
def test_the_follower_ends_where_the_node_is_and_undoes_only_what_the_node_left(
    birthday: int, happenings: list[Upheaval]
) -> None:
    model = Model(birthday)
    for upheaval in happenings:
        model.happen(upheaval)
        theirs, before = model.node[birthday:], list(model.ours)
        pairs = zip(before, theirs, strict=False)
        common = next(
            (n for n, (a, b) in enumerate(pairs) if a != b), min(map(len, (before, theirs)))
        )
        undone = 0
        while True:
            match step := model.step():
                case Extend():
                    assert step.height == birthday + len(model.ours)
                    model.ours += step.hashes
                case Undo():
                    assert model.ours.pop() == step.tip.hash
                    undone += 1
                    assert undone + step.depth - 1 == len(before) - common
                case Rest():
                    assert model.ours == theirs
                    assert undone == len(before) - common <= DEPTH_MAX
                    break
                case Wait():
                    assert len(theirs) <= common or not theirs
                    assert undone == 0
                    break
                case Halt():
                    assert undone == 0
                    assert len(before) - common > DEPTH_MAX or common == 0
                    return


@pytest.mark.parametrize("depth", [1, DEPTH_MAX])
def test_a_fork_up_to_the_limit_is_undone(depth: int) -> None:
    ours = [f"ours {n}" for n in range(depth)] + ["common"] * (DEPTH_MAX + 1 - depth)
    theirs: list[str | None] = [f"theirs {n}" for n in range(depth)]
    theirs += ["common"] * (DEPTH_MAX + 1 - depth)
    tip = Place(100, ours[0])
    node = sight(["x"], height=101)
    assert fork_step(tip, ours, theirs, node, DEPTH_MAX) == Undo(tip, depth)


def test_a_fork_beyond_the_limit_halts() -> None:
    ours = [f"ours {n}" for n in range(DEPTH_MAX + 1)]
    theirs = [f"theirs {n}" for n in range(DEPTH_MAX + 1)]
    step = fork_step(Place(100, ours[0]), ours, theirs, sight(["x"], height=101), DEPTH_MAX)
    assert isinstance(step, Halt)
    assert f"more than {DEPTH_MAX} blocks" in step.reason


def test_a_node_that_is_behind_on_our_own_chain_is_waited_for() -> None:
    step = fork_step(
        Place(100, "a"), ["a", "b", "c"], [None, None, "c"], sight(["x"], height=98), DEPTH_MAX
    )
    assert isinstance(step, Wait)
    assert "our own chain" in step.reason


def test_a_shorter_chain_that_left_ours_is_no_mere_delay() -> None:
    tip = Place(100, "a")
    step = fork_step(tip, ["a", "b", "c"], [None, "other", "c"], sight(["x"], height=99), DEPTH_MAX)
    assert step == Undo(tip, 2)


@pytest.mark.parametrize(
    ("changes", "tip_height", "told"),
    [
        ({"core_name": "main"}, None, "not 'regtest'"),
        ({"genesis_hash": "other"}, None, "another chain"),
        ({"initial_download": True}, None, "initial download"),
        ({"headers": 100 + BEHIND_MAX + 1}, None, "far behind"),
        ({}, 100 + BEHIND_MAX + 1, "followed already"),
    ],
)
def test_a_node_that_is_not_to_be_followed(
    changes: dict[str, Any], tip_height: int | None, told: str
) -> None:
    node = sight(["x"], **({"height": 100, "headers": 100} | changes))
    tip = None if tip_height is None else Place(tip_height, "tip")
    assert told in str(obstacle(CHAIN, CHAIN.genesis_hash, node, tip))


def test_a_node_as_it_should_be_is_followed() -> None:
    node = sight(["x"], height=100, headers=100 + BEHIND_MAX)
    assert obstacle(CHAIN, CHAIN.genesis_hash, node, Place(100 + BEHIND_MAX, "tip")) is None
    assert obstacle(CHAIN, CHAIN.genesis_hash, node, None) is None


def test_a_chain_that_is_not_there_yet_is_waited_for() -> None:
    assert isinstance(first_step(7, [None]), Wait)
    assert isinstance(first_step(7, []), Wait)
    assert first_step(7, ["a", "b", None]) == Extend(7, ("a", "b"))
