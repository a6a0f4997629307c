"""What the views cannot know from events: lag of worker and bridge, and the hot wallet.

A thread of its own looks every few seconds, since these questions block.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final, NamedTuple

from db.engine import connect
from db.ledger.rules import read_rules
from db.treasury.chain import tip
from db.treasury.purse import Purse, free_koinu
from processors.dogecoin.networks import CHAINS
from processors.seed import keyring_of, require_known_account
from schemas.settings import Settings
from schemas.topics import EVENTS, CommandTopic, topic_name
from streams.kafka.lag import Backlog, LagView
from streams.outages import OUTAGES, in_words

log = logging.getLogger(__name__)

_DATABASE_SECONDS: Final = 10.0


class Seen(NamedTuple):
    """The latest look; None stands for unknown, which is neither zero nor low."""

    worker: Backlog | None = None
    bridge: Backlog | None = None
    #: What no member of the views has counted in and written down.
    views: Backlog | None = None
    #: Koinu of the hot wallet that no withdrawal waits for.
    hot_wallet: int | None = None
    #: What could not be looked at, and why.
    fault: str | None = None


class Outlook:
    """Looks from time to time; ``seen`` is the last look."""

    def __init__(self, settings: Settings, positions: Callable[[], dict[int, int]]) -> None:
        """``positions`` says by partition which event the views count next."""
        self._settings = settings
        self._positions = positions
        self._lag = LagView(settings)
        self._commands = [topic_name(settings, code) for code in CommandTopic]
        self._events = topic_name(settings, EVENTS)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="outlook", daemon=True)
        self.seen = Seen(fault="not looked yet")

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(_DATABASE_SECONDS)
        self._lag.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            before = self.seen.fault
            self.seen = self.look()
            if self.seen.fault not in (None, before):
                log.warning("outage", extra={"cause": self.seen.fault})
            self._stopping.wait(self._settings.views_look_seconds)

    def look(self) -> Seen:
        """One look; what fails is unknown, and the rest is seen all the same."""
        worker = bridge = views = hot_wallet = None
        faults = []
        try:
            worker = self._lag.of_group(self._settings.group, self._commands)
            bridge_group = self._settings.topic_prefix + self._settings.bridge_group
            bridge = self._lag.of_group(bridge_group, [self._events])
            partitions = range(self._settings.partitions)
            views = self._lag.behind(self._events, partitions, self._positions())
        except Exception as fault:  # noqa: BLE001 - an old look must not pass for a new one
            faults.append(_words_of(fault))
        try:
            hot_wallet = self._hot_wallet()
        except Exception as fault:  # noqa: BLE001 - rather no number than a wrong one
            faults.append(_words_of(fault))
        return Seen(worker, bridge, views, hot_wallet, "; ".join(faults) or None)

    def _hot_wallet(self) -> int | None:
        """None where it is not watched, or no block was followed yet."""
        if not watches_hot_wallet(self._settings):
            return None
        keyring = keyring_of(self._settings)
        maturity = CHAINS[self._settings.network].coinbase_maturity
        with connect(
            self._settings.api_database_url,
            application_name="wallet-views",
            statement_seconds=_DATABASE_SECONDS,
        ) as connection:
            cursor = connection.cursor()
            require_known_account(read_rules(cursor), keyring, self._settings.network)
            found = tip(cursor)
            if found is None:
                return None
            return free_koinu(cursor, Purse(keyring.fingerprints, found[0], maturity))


def _words_of(fault: Exception) -> str:
    if isinstance(fault, OUTAGES):
        return in_words(fault)
    return str(fault) or repr(fault)


def watches_hot_wallet(settings: Settings) -> bool:
    """Whether the settings say where the coins are seen, and whose they are."""
    return bool(settings.api_database_url and settings.account_xpub)
