"""How the chain is followed: which single step comes next, from our tip and what the node says.

Blocks are taken one by one, each by its hash and only on top of the one it names as its previous.
Where the node's chain has another block than ours, ours are undone one by one down to the last
common one. A node that is merely behind makes nobody undo anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from processors.dogecoin.networks import Chain

#: A node whose headers are further ahead of its blocks is still catching up itself; one that is
#: further behind what was followed already was restored, or is another one.
BEHIND_MAX: Final = 10


class Place(NamedTuple):
    """A block's place on a chain."""

    height: int
    hash: str


class Sight(NamedTuple):
    """What a node says of itself."""

    core_name: str
    genesis_hash: str
    height: int
    headers: int
    initial_download: bool


class Rest(NamedTuple):
    """Our tip is the node's."""


class Extend(NamedTuple):
    """Take these blocks, the first at ``height``, each on top of the one before."""

    height: int
    hashes: tuple[str, ...]


class Fork(NamedTuple):
    """The node has another block where our tip is: look further back."""


class Undo(NamedTuple):
    """Take back our tip; ``depth`` blocks go in all."""

    tip: Place
    depth: int


class Wait(NamedTuple):
    """Nothing can be done until the node is as it should be."""

    reason: str


class Halt(NamedTuple):
    """Nothing is done until an operator has looked."""

    reason: str


def obstacle(chain: Chain, genesis_hash: str, sight: Sight, tip: Place | None) -> str | None:
    """Why this node is not followed now, or None."""
    if sight.core_name != chain.core_name:
        return f"the node follows {sight.core_name!r}, not {chain.core_name!r}"
    if sight.genesis_hash != genesis_hash:
        return (
            f"the node's first block is {sight.genesis_hash}, that of {chain.network} is "
            f"{genesis_hash}: it follows another chain"
        )
    if sight.initial_download:
        return f"the node is in its initial download, at block {sight.height}"
    if sight.headers - sight.height > BEHIND_MAX:
        return f"the node is far behind: it has {sight.height} of {sight.headers} blocks"
    if tip is not None and tip.height - sight.height > BEHIND_MAX:
        return (
            f"the node is far behind: it is at block {sight.height}, and block {tip.height} was "
            "followed already"
        )
    return None


def first_step(birthday: int, theirs: Sequence[str | None]) -> Extend | Wait:
    """Where nothing is followed yet; ``theirs`` are the node's hashes from the birthday on."""
    ahead = _until_none(theirs)
    if not ahead:
        return Wait(f"the node has not yet block {birthday}, the first that may concern us")
    return Extend(birthday, ahead)


def next_step(tip: Place, theirs: Sequence[str | None]) -> Rest | Extend | Fork:
    """The next step from our tip; ``theirs`` are the node's hashes from the tip's height on."""
    if not theirs or theirs[0] != tip.hash:
        return Fork()
    ahead = _until_none(theirs[1:])
    return Extend(tip.height + 1, ahead) if ahead else Rest()


def fork_step(
    tip: Place, ours: Sequence[str], theirs: Sequence[str | None], sight: Sight, depth_max: int
) -> Undo | Wait | Halt:
    """What to do about a fork.

    ``ours`` and ``theirs`` are both sides' hashes at the same heights, from the tip's downwards;
    theirs is None above the node's tip. There must be ``depth_max + 1`` of them, or all of ours.
    """
    pairs = enumerate(zip(ours, theirs, strict=True))
    depth = next((back for back, (mine, its) in pairs if mine == its), None)
    if depth is None or depth > depth_max:
        return Halt(
            f"the node's chain has no block in common with the last {len(ours)} of ours, the tip "
            f"{tip.hash} at {tip.height}: a reorganisation of more than {depth_max} blocks, or "
            "another chain"
        )
    if sight.height <= tip.height - depth:
        # What was followed may be true all the same, and to undo it would take money back.
        return Wait(
            f"the node is at block {sight.height}, and follows our own chain, of which block "
            f"{tip.height} was followed already"
        )
    return Undo(tip, depth)


def _until_none(hashes: Sequence[str | None]) -> tuple[str, ...]:
    ahead: list[str] = []
    for each in hashes:
        if each is None:
            break
        ahead.append(each)
    return tuple(ahead)
