"""A marketplace's records with outcomes that are known beforehand, put on the topics bit by bit."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Final

import psycopg

from schemas.ids import Place
from schemas.rejections import Rejection, is_dead_letter
from schemas.settings import Settings
from streams.loadgen.market import Market
from streams.loadgen.pieces import (
    ACCEPTED,
    REPLAYED,
    Planned,
    Shares,
    Wreckage,
    funding,
    opening,
    players,
)
from streams.loadgen.plan import Layout, Writer
from tests.support.commands import Wire
from tests.support.eventually import eventually
from tests.support.station import outcomes_of, send, worker_for

_SHARES: Final = Shares(duplicates=0.1, overdrafts=0.05, malformed=0.05)
_PATIENCE_SECONDS: Final = 90.0
_KEY_REUSED: Final = Rejection.KEY_REUSED


@contextmanager
def working(settings: Settings) -> Iterator[None]:
    """A worker in a thread of this process, which nothing befalls."""
    worker = worker_for(settings)
    thread = threading.Thread(target=worker.run, name="worker")
    thread.start()
    try:
        yield
    finally:
        worker.stop()
        thread.join(30.0)
        assert not thread.is_alive()


class Traffic:
    """What the users of one wallet do. Nobody else may write on its topics.

    Every place is known before it is taken, and so the ids of what is made there.
    """

    def __init__(self, settings: Settings, seed: int, users: int = 5) -> None:
        self.settings = settings
        #: The outcome, or the code of the refusal, that each record must come to.
        self.expected: dict[Place, str] = {}
        self._layout = Layout(settings.partitions)
        label = f"crash-{seed}"
        self._players = players(label, users)
        self._writer = Writer(label)
        self._market = iter(Market(seed, self._players, _SHARES))
        self._told: list[tuple[Wire, str]] = []

    def begin(self) -> None:
        """Open the wallets, give each an address, and pay in."""
        with working(self.settings):
            self._send(opening(self._players))
            self.settle()
            with psycopg.connect(self.settings.api_database_url) as connection:
                found: dict[str, str] = dict(
                    connection.execute(
                        "SELECT user_id::text, address FROM deposit_addresses WHERE active"
                    ).fetchall()
                )
            for player in self._players:
                player.address = found[player.user_id]
            self._send(funding(self._players))
            self.settle()

    def go_on(self, count: int) -> None:
        """Send the next commands of the marketplace."""
        self._send(islice(self._market, count))

    def repeat(self) -> None:
        """Send all that was sent once more, as a producer does that was told nothing."""
        for record, expected in list(self._told):
            again = expected if _is_refused_as_it_stands(expected) else REPLAYED
            self._lay(record, again)
        self._put(len(self._told) // 2)

    def settle(self) -> None:
        """Wait until every record has an outcome."""
        eventually(self._settled, "every record has an outcome", _PATIENCE_SECONDS)

    def await_some(self, count: int, of_last: int) -> None:
        """Wait until so many of the last records have an outcome."""
        last = list(self.expected)[-of_last:]

        def some() -> bool:
            return sum(o != "none" for o, _ in outcomes_of(self.settings, last)) >= count

        eventually(some, f"{count} of {of_last} records have an outcome", _PATIENCE_SECONDS)

    def faults(self) -> list[str]:
        """Records that came to something else than they should have."""
        places = list(self.expected)
        return [
            f"{place} became {outcome} {code}, not {self.expected[place]}"
            for place, (outcome, code) in zip(
                places, outcomes_of(self.settings, places), strict=True
            )
            if self.expected[place] not in (outcome, code)
        ]

    def _settled(self) -> bool:
        return "none" not in {o for o, _ in outcomes_of(self.settings, self.expected)}

    def _send(self, steps: Iterable[Planned | Wreckage]) -> None:
        count = 0
        for step in steps:
            count += 1
            if isinstance(step, Wreckage):
                self._lay(Wire(step.topic, step.key, step.value), step.expected)
                continue
            place = self._layout.place(step.topic, step.player.key)
            if step.makes and step.thing is not None and step.expected == ACCEPTED:
                step.thing.id = self._layout.id_at(place)
            value = self._writer.value_of(step)
            self._note(Wire(step.topic, step.player.key, value), step.expected, place)
        self._put(count)

    def _lay(self, record: Wire, expected: str) -> None:
        self._note(record, expected, self._layout.place(record.topic, record.key))

    def _note(self, record: Wire, expected: str, place: tuple[int, int, int]) -> None:
        topic, partition, offset = place
        self.expected[Place(topic, 1, partition, offset)] = expected
        self._told.append((record, expected))

    def _put(self, count: int) -> None:
        """Send the last records that were laid out; each must land where it was to."""
        records = [record for record, _ in self._told[-count:]]
        assert send(self.settings, records) == list(self.expected)[-count:]


def _is_refused_as_it_stands(expected: str) -> bool:
    """Whether a record comes to the same however often it is sent."""
    return any(
        code == expected for code in Rejection if is_dead_letter(code) or code is _KEY_REUSED
    )
