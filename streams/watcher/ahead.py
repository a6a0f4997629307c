"""Blocks in their order, each fetched and looked through while the one before it is booked.

A node takes as long to write a block out as we take to book it, and while the database works this
process has nothing else to do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from streams.watcher.matching import Sought, sought_in
from streams.watcher.ports import Node


class Ahead:
    """The blocks of some hashes; iterated inside ``with``, after which nobody asks the node.

    A thread of its own asks it, and nobody else may meanwhile. A fault is raised in its block's
    place; what was fetched in vain is asked for again.
    """

    def __init__(self, node: Node, hashes: Sequence[str]) -> None:
        self._node = node
        self._hashes = iter(hashes)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ahead")
        self._coming: Future[Sought] | None = None

    def __enter__(self) -> Ahead:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()

    def __iter__(self) -> Iterator[Sought]:
        while True:
            self.begin_next()
            if self._coming is None:
                return
            sought = self._coming.result()
            self._coming = None
            yield sought

    def begin_next(self) -> None:
        """Fetch the block after the one in hand; best called when the database has work to do.

        Earlier, the thread would only keep this one from giving it that work.
        """
        if self._coming is None and (block_hash := next(self._hashes, None)) is not None:
            self._coming = self._thread.submit(self._fetch, block_hash)

    def _fetch(self, block_hash: str) -> Sought:
        return sought_in(self._node.block(block_hash))
