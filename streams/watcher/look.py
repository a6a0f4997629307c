"""One look at the node: which step it leads to, and which blocks it says come next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from processors.dogecoin import following
from processors.dogecoin.following import Extend, Fork, Halt, Place, Rest, Sight, Undo, Wait
from processors.dogecoin.networks import Chain
from streams.node.client import NodeUnusable
from streams.node.shapes import BlockShape
from streams.watcher.ports import Node

#: Hashes asked for in one request while catching up.
AHEAD_MAX: Final = 100
#: While the tip moves between two calls, a block may not fit; a node that goes on so is lying.
_MISFITS_MAX: Final = 3

Step = Rest | Extend | Undo | Wait | Halt


class Followed(NamedTuple):
    """What is followed already."""

    birthday: int
    #: None at the very start.
    tip: Place | None
    #: Our hashes from the tip downwards, so many or all; read only where there is a fork.
    newest: Callable[[int], list[str]]


def sight_of(node: Node) -> Sight:
    """What the node says of itself."""
    chain = node.chain()
    genesis = node.block_hash(0)
    if genesis is None:
        raise NodeUnusable("the node has no first block")
    return Sight(
        core_name=chain.chain,
        genesis_hash=genesis,
        height=chain.blocks,
        headers=chain.headers,
        initial_download=chain.initialblockdownload,
    )


def next_step(
    node: Node,
    sight: Sight,
    followed: Followed,
    *,
    chain: Chain,
    genesis_hash: str,
    depth_max: int,
) -> Step:
    """What is to be done next; raises ``NodeFault``."""
    tip = followed.tip
    obstacle = following.obstacle(chain, genesis_hash, sight, tip)
    if obstacle is not None:
        return Wait(obstacle)
    if tip is None:
        heights = range(followed.birthday, min(sight.height, followed.birthday + AHEAD_MAX) + 1)
        return following.first_step(followed.birthday, node.block_hashes(heights))
    top = max(min(sight.height, tip.height + AHEAD_MAX), tip.height)
    step = following.next_step(tip, node.block_hashes(range(tip.height, top + 1)))
    if not isinstance(step, Fork):
        return step
    ours = followed.newest(depth_max + 1)
    heights = range(tip.height, tip.height - len(ours), -1)
    return following.fork_step(tip, ours, node.block_hashes(heights), sight, depth_max)


class Misfits:
    """Blocks that do not stand on our tip, though the node's chain says so."""

    def __init__(self) -> None:
        self._count = 0

    def fits(self, block: BlockShape, height: int, previous: str | None) -> bool:
        """Whether a block stands where it was said to; False if another look must tell.

        Raises ``NodeUnusable`` for one that says it is elsewhere, and for a node that keeps naming
        blocks that do not fit.
        """
        if block.height != height:
            raise NodeUnusable(
                f"the node says that block {block.hash} is at {height}, the block says "
                f"{block.height}"
            )
        if previous is None or block.previousblockhash == previous:
            self._count = 0
            return True
        self._count += 1
        if self._count >= _MISFITS_MAX:
            raise NodeUnusable(
                f"block {block.hash} at {height} follows {block.previousblockhash}, not our tip "
                f"{previous}, though the node has both on its chain"
            )
        return False
