"""The payer as a process: one at a time, with the key in it and nothing of it outside."""

from __future__ import annotations

import ctypes
import logging
import os
import resource
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from db.engine import Connection, connect, require_schema
from db.failures import RIVALRY
from db.ledger.rules import read_rules
from db.treasury.claims import ClaimsTaken
from db.treasury.outboxes import PAYER_OUTBOX
from db.treasury.payouts import opened, take_lock
from db.treasury.purse import CoinsTaken, accounts_under_way
from processors.dogecoin.keyring import Keyring
from processors.dogecoin.signing import AccountSigner
from processors.seed import keyring_of, require_known_account
from schemas.settings import Settings
from streams import metrics
from streams.alarms import Alarms
from streams.heart import Heart
from streams.node.answers import Answer
from streams.node.client import Node, endpoint_of
from streams.node.shapes import BlockShape
from streams.outages import DATABASE, OUTAGES, Backoff, in_words, server_of
from streams.outboxes import Relay
from streams.overdue import Orders
from streams.payer import ports
from streams.payer.office import Limits, Office, Step
from streams.payer.payer import Payer
from streams.probe import run_with_probe
from streams.secrets import account_signer

log = logging.getLogger(__name__)

_STANDBY: Final = "another payer pays; this one takes over when it ends"
#: While there is something to do, or an outcome to wait for, rounds follow each other closely.
_FIRST_WAIT_SECONDS: Final = 0.05
#: A node answers in moments, or it is away.
_HANGS_SECONDS: Final = 5.0
_PR_SET_DUMPABLE: Final = 4
#: Somebody else reserved a coin, or an operator's order came between: the next round sees it.
_RIVALRY: Final = (*RIVALRY, CoinsTaken, ClaimsTaken)


def forbid_dumps() -> None:
    """Let no crash write this process's memory, the key in it, to a disk.

    A limit of nothing stops plain dumps; where dumps go to a program, only the mark of a process
    that may not be dumped does. It also keeps debuggers of the same user out.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


class Timed:
    """A node whose calls are timed: one that is under way for long is told while it lasts."""

    def __init__(self, node: ports.Node, answered: Callable[[], None] = lambda: None) -> None:
        self._node = node
        self._answered = answered
        self._since: float | None = None

    def send(self, raw: bytes) -> Answer:
        """As the node."""
        with self._call():
            return self._node.send(raw)

    def fee_rate(self, blocks: int) -> int | None:
        """As the node."""
        with self._call():
            return self._node.fee_rate(blocks)

    def block(self, block_hash: str) -> BlockShape:
        """As the node."""
        with self._call():
            return self._node.block(block_hash)

    def hangs(self) -> str | None:
        """That a call has waited long for its answer, in words; may be asked by any thread."""
        since = self._since
        if since is None or (waited := time.monotonic() - since) < _HANGS_SECONDS:
            return None
        return f"node is away: it has not answered for {waited:.0f} s"

    @contextmanager
    def _call(self) -> Iterator[None]:
        self._since = time.monotonic()
        try:
            yield
        finally:
            self._since = None
            self._answered()


class Till:
    """Pays while it holds the lock; waits for the lock while another payer does."""

    def __init__(
        self,
        settings: Settings,
        keyring: Keyring,
        signer: ports.Signer,
        *,
        step: Step = lambda name: None,
    ) -> None:
        self._settings = settings
        self._keyring = keyring
        self._signer = signer
        self._step = step
        self._limits = Limits.of(settings)
        self._node = Node(endpoint_of(settings), timeout_seconds=settings.node_timeout_seconds)
        self.heart = Heart(settings.poll_seconds)
        # A round may ask the node for every payment there is.
        self._timed = Timed(self._node, self.heart.beat)
        self._alarms = Alarms(settings, source=f"payer {socket.gethostname()}/{os.getpid()}")
        self._relay = Relay(settings, PAYER_OUTBOX, issuer="payer", step=step)
        self._stopping = threading.Event()
        self._backoff = Backoff()
        self._connection: Connection | None = None
        self._payer: Payer | None = None
        self._fault: str | None = "starting"
        self._wait = _FIRST_WAIT_SECONDS

    def run(self) -> None:
        """Pay until ``stop``; the round in hand is finished."""
        try:
            while not self._stopping.is_set():
                self.round()
        finally:
            self.close()

    def stop(self) -> None:
        """End after the round in hand; called from any thread."""
        self._stopping.set()

    def close(self) -> None:
        """Let go of the servers, and of the lock."""
        self._relay.close()
        self._alarms.close()
        self._node.close()
        if self._connection is not None:
            self._connection.close()

    def fault(self) -> str | None:
        """What keeps withdrawals from being paid, or None."""
        return self._timed.hangs() or self._fault

    def round(self) -> None:
        """One round, with every fault that a later one may find mended; then the wait after it."""
        self.heart.beat()
        try:
            done = self._run_once()
        except _RIVALRY as rivalry:
            log.warning("round given up, trying again", extra={"cause": str(rivalry)})
            self._stopping.wait(self._backoff.next())
        except OUTAGES as outage:
            self._fault = in_words(outage)
            seconds = self._backoff.next()
            log.warning("outage", extra={"cause": self._fault, "wait": seconds})
            # The lock went with the session: whoever has it now pays.
            if server_of(outage) == DATABASE and self._connection is not None:
                self._connection.close()
            self._stopping.wait(seconds)
        else:
            self._backoff.reset()
            self._wait = (
                _FIRST_WAIT_SECONDS if done else min(self._wait * 2, self._settings.poll_seconds)
            )
            self._stopping.wait(self._wait)

    def _run_once(self) -> int:
        payer = self._lead()
        if payer is None:
            self._fault = _STANDBY
            metrics.stand_by("payer")
            return 0
        done = payer.run_once()
        self._fault = payer.blindness() or payer.office.node_fault
        return done

    def _lead(self) -> Payer | None:
        """The payer on the connection that holds the lock, if this is the one payer."""
        if self._connection is None or self._connection.closed:
            self._payer = None
            self._connection = opened(self._settings.payer_database_url)
            require_schema(self._connection)
        if self._payer is None and take_lock(self._connection):
            log.info("paying")
            self._payer = self._start(self._connection)
        return self._payer

    def _start(self, connection: Connection) -> Payer:
        office = Office(
            connection=connection,
            limits=self._limits,
            keyring=self._keyring,
            signer=self._signer,
            node=self._timed,
            bell=self._alarms,
            step=self._step,
        )
        late = Orders(self._settings, PAYER_OUTBOX, office.alarms)

        def relay() -> int:
            late.look(connection)
            count = self._relay.run_once(connection)
            metrics.RELAYED.inc(count)
            return count

        return Payer(office, relay=relay)


def run_payer(
    settings: Settings,
    *,
    read_signer: Callable[[Settings], AccountSigner] = account_signer,
    announce: Callable[[str], None] = lambda line: None,
    step: Step = lambda name: None,
) -> None:
    """Pay until SIGTERM or SIGINT; the round in hand is finished.

    Raises ``SettingsError``, ``SecretFault``, ``RulesOfAnotherAccount`` or ``SchemaMismatchError``
    where the payer must not start, and ``AccountUnknown`` where it lacks an account whose coins
    payments under way spend, or must not go on. ``step`` is called at each named step, for tests
    that kill it there.
    """
    forbid_dumps()
    settings.require("payer_database_url", "kafka", "node_url", "account_xpub")
    keyring = keyring_of(settings)
    with (
        connect(settings.payer_database_url, application_name="wallet-payer") as connection,
        connection.cursor() as cursor,
    ):
        require_schema(connection)
        require_known_account(read_rules(cursor), keyring, settings.network)
        for account_key in accounts_under_way(cursor):
            # Else a payment would wait for ever, and with it the coins that it holds.
            keyring.of(account_key)
    till = Till(settings, keyring, read_signer(settings), step=step)
    run_with_probe(till, "payer", settings.payer_host, settings.payer_port, announce)
