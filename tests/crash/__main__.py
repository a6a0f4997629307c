"""``make crash N=…``: the whole matrix N times, on servers of its own, printed as a table.

python -m tests.crash 20
"""

from __future__ import annotations

import random
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, NamedTuple

from tests.crash.matrix import CELLS, STEPS, Aftermath, play
from tests.crash.servers import Servers, own_servers
from tests.crash.upheavals import RESTARTS, UPHEAVALS
from tests.crash.wallet import Wallet

#: Cells that are played side by side: they mostly wait.
_TOGETHER: Final = 3
_BEAR: Final = "borne, or stopped with its alarm"


class Cell(NamedTuple):
    """Where in the tables a run belongs."""

    row: str
    column: str


class Runs:
    """Plays cells and counts them."""

    def __init__(self, runs: int) -> None:
        self._runs = runs
        self.passed: Counter[Cell] = Counter()
        self.played: Counter[Cell] = Counter()

    def play_together(self, servers: Servers) -> None:
        """All that leaves the servers alone, side by side."""
        with ThreadPoolExecutor(_TOGETHER) as threads:
            list(threads.map(partial(self._play, servers), self._together()))

    def play_restarts(self, servers: Servers) -> None:
        """What kills the servers, one after the other."""
        for _ in range(self._runs):
            for name in RESTARTS:
                self._play(servers, Cell(name, _BEAR))

    def _together(self) -> Iterator[Cell]:
        for _ in range(self._runs):
            yield from (Cell(step, aftermath.value) for step, aftermath in CELLS)
            yield from (Cell(name, _BEAR) for name in UPHEAVALS)

    def _play(self, servers: Servers, cell: Cell) -> None:
        seed = random.SystemRandom().randrange(2**31)
        self.played[cell] += 1
        try:
            with Wallet(servers.databases, servers.broker, seed) as wallet:
                _do(cell, wallet, servers, seed)
        except Exception as fault:  # noqa: BLE001 - told, counted, and the matrix goes on
            print(f"FAILED {cell.row}, {cell.column}, seed {seed}: {fault!r}", flush=True)
            return
        self.passed[cell] += 1
        print(f"held   {cell.row}, {cell.column}, seed {seed}", flush=True)

    def tell(self) -> int:
        """Print the tables and the last line; 1 if a run did not hold."""
        print(f"\n{'the worker comes to grief at':32}" + "".join(f"{a:>18}" for a in Aftermath))
        for step in STEPS:
            print(f"{step:32}" + "".join(f"{self._count(step, a.value):>18}" for a in Aftermath))
        print(f"\n{'befalls log or servers':32}{_BEAR:>36}")
        for name in (*UPHEAVALS, *RESTARTS):
            print(f"{name:32}{self._count(name, _BEAR):>36}")
        failed = self.played.total() - self.passed.total()
        print(f"\n{self.passed.total()} passed, {failed} failed")
        return 1 if failed else 0

    def _count(self, row: str, column: str) -> str:
        cell = Cell(row, column)
        return f"{self.passed[cell]} of {self.played[cell]}" if self.played[cell] else "-"


def _do(cell: Cell, wallet: Wallet, servers: Servers, seed: int) -> None:
    if cell.row in RESTARTS:
        RESTARTS[cell.row](wallet, servers, seed, 2)
    elif cell.row in UPHEAVALS:
        UPHEAVALS[cell.row](wallet, seed)
    else:
        play(wallet, cell.row, Aftermath(cell.column), seed)


def main() -> int:
    """Play each cell so many times, each with a seed that is told; 1 if one did not hold."""
    # Told to end, it takes its servers down as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    runs = Runs(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
    with own_servers() as servers:
        runs.play_together(servers)
    # On fresh ones: a broker that comes back from a kill first looks at all that it ever had.
    with own_servers() as servers:
        runs.play_restarts(servers)
    return runs.tell()


if __name__ == "__main__":
    sys.exit(main())
