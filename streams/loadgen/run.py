"""Plays a market on a running wallet, and checks that it did exactly what was asked of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from typing import Final, NamedTuple

from db.engine import connect
from schemas.amounts import parse_share
from schemas.settings import Settings
from schemas.topics import CommandTopic, topic_name
from streams.kafka.produce import Producer
from streams.loadgen.inbox import Inbox
from streams.loadgen.market import Market
from streams.loadgen.model import Purse
from streams.loadgen.pieces import Player, Shares, Wreckage, funding, opening, players
from streams.loadgen.plan import Writer
from streams.loadgen.referee import Referee, Report, Sent

#: Records without an outcome, at most: what is under way bounds the memory.
_UNDER_WAY_MAX: Final = 20_000
#: Orders that stay open, at most, so that there is rarely a wait for an id: as many as are made
#: while a batch is on its way. Of a short game at most as many as are made in its first quarter.
_LAG_MAX: Final = 1_500
_LAG_SECONDS: Final = 0.1
_LAG_SHARE: Final = 0.03
#: Between two looks at what came back, while sending as fast as possible.
_BURST: Final = 128

#: Told how far a stage is: its name, what is done, and of how many (None: until stopped).
Progress = Callable[[str, int, int | None], None]


class Stalled(Exception):
    """Nothing comes back from the wallet."""


class Options(NamedTuple):
    """What to play. ``rate`` is in commands a second, 0 as fast as it goes; ``commands`` and
    ``duration_seconds`` each end the game, None where the other does."""

    users: int
    seed: int
    #: Mixed into the users' ids and the keys, so that each run has users of its own.
    run: str
    commands: int | None = None
    rate: float = 0.0
    duration_seconds: float | None = None
    shares: Shares = Shares()
    #: How long nothing may come back before the game is given up.
    patience_seconds: float = 30.0


class Game:
    """One run: opens and funds wallets, plays the market, waits for every outcome, checks."""

    def __init__(
        self,
        settings: Settings,
        options: Options,
        *,
        progress: Progress = lambda stage, done, total: None,
        stop: threading.Event | None = None,
    ) -> None:
        self._settings = settings
        self._options = options
        self._progress = progress
        self._stop = stop or threading.Event()
        label = f"loadgen-{options.run}"
        self._players = players(label, options.users, settings.network)
        self._writer = Writer(label, settings.network)
        self._topics = {code: topic_name(settings, code) for code in CommandTopic}
        self._referee = Referee(self._players)

    def play(self) -> Report:
        """The whole game; raises ``Stalled`` and ``KafkaUnavailable``."""
        users = self._options.users
        self._inbox = Inbox(self._settings, {player.user_id for player in self._players})
        self._producer = Producer(self._settings, linger_ms=5)
        try:
            self._send_all("wallets", opening(self._players), 2 * users)
            self._settle("wallets")
            self._send_all("funding", funding(self._players), users)
            self._settle("funding")
            if not self._referee.report.different:
                self._play_market()
        finally:
            self._producer.close()
            self._inbox.close()
        url = self._settings.api_database_url
        self._referee.check(wallets_of(url, self._players) if url else None)
        return self._referee.report

    def _play_market(self) -> None:
        settings, options = self._settings, self._options
        market = Market(
            options.seed,
            self._players,
            options.shares,
            follow_ups=True,
            payouts=not settings.node_url,
            lag=_lag_of(options),
            withdrawal_minimum=parse_share(settings.rules_withdrawal_minimum),
            withdrawal_fee=parse_share(settings.rules_withdrawal_fee),
        )
        report = self._referee.report
        before, started = report.sent, time.monotonic()
        duration = options.duration_seconds
        self._send_all(
            "marketplace",
            islice(market, options.commands),
            options.commands,
            rate=options.rate,
            until=None if duration is None else started + duration,
        )
        self._settle("outcomes")
        report.played = report.sent - before
        report.seconds = time.monotonic() - started

    def _send_all(
        self,
        stage: str,
        steps: Iterable[Sent],
        total: int | None,
        *,
        rate: float = 0.0,
        until: float | None = None,
    ) -> None:
        started = time.monotonic()
        for number, step in enumerate(steps):
            if number % _BURST == 0:
                self._receive(0.0)
                self._progress(stage, number, total)
            if self._stop.is_set() or (until is not None and time.monotonic() > until):
                return
            if rate:
                self._pace(started + number / rate)
            if self._referee.under_way >= _UNDER_WAY_MAX:
                self._wait(lambda: self._referee.under_way < _UNDER_WAY_MAX // 2)
            if self._may_send(step):
                self._send(step)
        self._progress(stage, total or 0, total)

    def _may_send(self, step: Sent) -> bool:
        """Wait until what a command is about has its id; False if it was refused."""
        if isinstance(step, Wreckage) or step.thing is None or step.makes:
            return True
        thing = step.thing
        if not thing.id:
            self._wait(lambda: bool(thing.id) or thing.refused)
        if thing.refused:
            self._referee.report.skipped += 1
        return not thing.refused

    def _send(self, step: Sent) -> None:
        if isinstance(step, Wreckage):
            key, value = step.key, step.value
        else:
            key, value = step.player.key, self._writer.value_of(step)
        self._referee.expect(step)
        self._producer.send(
            self._topics[step.topic], key, value, partial(self._inbox.delivered, step)
        )

    def _pace(self, due: float) -> None:
        while (left := due - time.monotonic()) > 0:
            self._receive(min(left, 0.1))

    def _settle(self, stage: str) -> None:
        """Wait for the outcome of everything that was sent."""
        self._producer.flush()
        total = self._referee.report.sent

        def settled() -> bool:
            self._progress(stage, total - self._referee.under_way, total)
            return not self._referee.under_way

        self._wait(settled)
        self._referee.settle()

    def _wait(self, satisfied: Callable[[], bool]) -> None:
        patience = self._options.patience_seconds
        deadline = time.monotonic() + patience
        while not satisfied():
            if self._receive(0.1):
                deadline = time.monotonic() + patience
            elif time.monotonic() > deadline:
                raise Stalled(
                    f"{self._referee.under_way} of {self._referee.report.sent} records have no "
                    f"outcome, and none came for {patience:.0f} s: is a worker running, and on "
                    "these topics? `wallet status` tells."
                )

    def _receive(self, timeout_seconds: float) -> int:
        """Take in what came back; waits for the first item alone. Returns how many there were."""
        count = 0
        item = self._inbox.take(timeout_seconds)
        while item is not None:
            count += 1
            self._referee.take(item)
            item = self._inbox.take(0.0)
        return count


def _lag_of(options: Options) -> int:
    lag: float = _LAG_MAX
    if options.rate:
        lag = min(lag, 8 + options.rate * _LAG_SECONDS)
    if options.commands is not None:
        lag = min(lag, options.commands * _LAG_SHARE)
    return int(lag)


def wallets_of(url: str, players: list[Player]) -> dict[str, tuple[Purse, int]]:
    """Purse and number of events of each player, as the database has them."""
    found: dict[str, tuple[Purse, int]] = {}
    with connect(url, application_name="wallet loadgen", autocommit=True) as connection:
        rows = connection.execute(
            """
            SELECT user_id::text, available, bids, escrow, pending, sequence
            FROM wallets WHERE user_id = ANY(%s::uuid[])
            """,
            ([player.user_id for player in players],),
        )
        for user_id, available, bids, escrow, pending, sequence in rows:
            found[user_id] = (Purse(available, bids, escrow, pending), sequence)
    return found
