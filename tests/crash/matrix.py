"""One cell of the matrix: a step at which a worker comes to grief, and what follows.

After each, every command has the outcome that it should have, every event is seen once by a
read-committed reader, each user's sequence is gap-free, the doctor finds nothing, and a rebuild
from the log arrives at the same state.
"""

from __future__ import annotations

import random
from enum import StrEnum
from typing import Final

from tests.crash.process import FILLING
from tests.crash.wallet import Wallet

#: In the order in which a batch comes to them; "entering" is inside the COPY of its entries.
STEPS: Final = (
    FILLING,
    "claimed",
    "entering",
    "decided",
    "written",
    "committed",
    "produced",
    "offsets-sent",
    "published",
)
_PIECE: Final = 120
#: How many batches are passed before, at most; a piece of traffic has more.
_PASSED_MAX: Final = 3


class Aftermath(StrEnum):
    """What follows when the first worker has come to grief at its step."""

    RESTART = "restart"
    THAW = "takeover, thaw"
    DUPLICATES = "duplicates"
    REBALANCE = "rebalance"


#: A rebalance cannot come in the middle of a database transaction: that thread is the one that
#: would serve it.
CELLS: Final = tuple(
    (step, aftermath)
    for step in STEPS
    for aftermath in Aftermath
    if aftermath is not Aftermath.REBALANCE or step in (FILLING, "produced", "offsets-sent")
)


def play(wallet: Wallet, step: str, aftermath: Aftermath, seed: int) -> None:
    """Play one cell; raises ``AssertionError`` with what does not hold."""
    after = str(random.Random(seed).randrange(_PASSED_MAX))
    wallet.traffic.begin()
    wallet.traffic.go_on(_PIECE)
    match aftermath:
        case Aftermath.RESTART | Aftermath.DUPLICATES:
            _kill(wallet, step, after, repeat=aftermath is Aftermath.DUPLICATES)
        case Aftermath.THAW:
            _freeze_and_thaw(wallet, step, after)
        case Aftermath.REBALANCE:
            _rebalance(wallet, step, after)
    wallet.hold()


def _kill(wallet: Wallet, step: str, after: str, *, repeat: bool) -> None:
    with wallet.worker(step, "SIGKILL", after) as first:
        first.await_killed()
    if repeat:
        wallet.traffic.repeat()
    wallet.traffic.go_on(_PIECE)
    with wallet.worker() as second:
        wallet.traffic.settle()
        second.drain()


def _freeze_and_thaw(wallet: Wallet, step: str, after: str) -> None:
    with wallet.worker(step, "SIGSTOP", after) as first:
        first.await_frozen()
        with wallet.worker() as second:
            wallet.traffic.go_on(_PIECE)
            wallet.traffic.settle()
            first.thaw()
            wallet.traffic.go_on(_PIECE)
            wallet.traffic.settle()
            first.drain()
            second.drain()


def _rebalance(wallet: Wallet, step: str, after: str) -> None:
    """A second worker joins while the first has a batch in hand, and leaves again in mid-load."""
    with wallet.worker(step, "PAUSE", after) as first:
        first.await_paused()
        with wallet.worker() as second:
            if step == FILLING:
                # The first serves the rebalance while it fills its batch.
                wallet.await_owner(second)
                first.go_on()
            else:
                # The rebalance waits for the first to have published.
                first.go_on()
                wallet.await_owner(second)
            wallet.traffic.go_on(_PIECE)
            second.drain()
        wallet.traffic.settle()
        first.drain()
