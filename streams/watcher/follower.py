"""The follower: one block after the other from the node into the database, and what they cause.

``run`` is a loop around ``run_once``, which looks at the node once and does what that leads to:
take the blocks that follow, undo one, wait, or halt until an operator has looked. Nothing is ever
skipped: what cannot be read, or cannot be right, is asked for again, and is told meanwhile.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Final, assert_never

from db.engine import Connection, connect, require_schema
from db.treasury import chain as book
from db.treasury.blocks import CONTRADICTED
from db.treasury.outboxes import WATCHER_OUTBOX, refused_receipts
from processors.dogecoin.following import Extend, Halt, Place, Rest, Undo, Wait
from processors.dogecoin.networks import CHAINS, expected_genesis
from schemas.amounts import format_amount
from schemas.settings import Settings
from streams import metrics
from streams.alarms import Alarms, Standing
from streams.garbage import collected_seldom
from streams.heart import Heart
from streams.kafka.config import KafkaUnavailable
from streams.node.client import Endpoint, Node, NodeAway, NodeFault, endpoint_of
from streams.outages import OUTAGES, Backoff, in_words
from streams.outboxes import Relay
from streams.overdue import Orders
from streams.watcher import booking, ports
from streams.watcher.again import Again
from streams.watcher.ahead import Ahead
from streams.watcher.look import Followed, Misfits, next_step, sight_of
from streams.watcher.matching import Sought
from streams.watcher.progress import Progress

log = logging.getLogger(__name__)

#: No transaction of ours holds its locks for so long.
_LOCK_MS: Final = 5_000
_STARTING: Final = "starting"
_STANDBY: Final = "another watcher follows the chain; this one takes over when it ends"

#: Kinds of alarms; each names its runbook.
_UNUSABLE: Final = "node-unusable"
_NOT_FOLLOWED: Final = "node-not-followed"
_SECOND_NODE: Final = "second-node"
_REFUSED: Final = "deposit-refused"
_NODE_AWAY: Final = "node-away"
_HALTED: Final = "deep-reorganisation"
#: A node may be started anew without a word.
_AWAY_SECONDS: Final = 60.0

Step = Callable[[str], None]


class ChainOfAnother(Exception):
    """The database follows another chain than the settings say."""


class Watcher:
    """Follows the chain while it holds the lock; waits for the lock while another one does."""

    def __init__(
        self,
        settings: Settings,
        *,
        node: ports.Node | None = None,
        second: ports.Node | None = None,
        relay: ports.Relay | None = None,
        bell: ports.Bell | None = None,
        genesis_hash: str | None = None,
        step: Step = lambda name: None,
    ) -> None:
        """``genesis_hash`` names the first block of a test chain of another make."""
        self._settings = settings
        self._chain = CHAINS[settings.network]
        self._genesis_hash = genesis_hash or expected_genesis(settings.network)
        self._step = step
        timeout = settings.node_timeout_seconds
        self._node = node or Node(endpoint_of(settings), timeout_seconds=timeout)
        self._second = second
        if second is None and settings.node_second_url:
            other = Endpoint.of_url(settings.node_second_url, "WALLET_NODE_SECOND_URL")
            self._second = Node(other, timeout_seconds=timeout)
        source = f"watcher {socket.gethostname()}/{os.getpid()}"
        self._bell = bell or Alarms(settings, source=source)
        self._alarms = Standing(self._bell)
        self._orders = Orders(settings, WATCHER_OUTBOX, self._alarms)
        self._relay = relay or Relay(settings, WATCHER_OUTBOX, issuer="watcher", step=step)
        self.heart = Heart(settings.poll_seconds)
        self._stopping = threading.Event()
        self._backoff = Backoff()
        self._progress = Progress()
        self._misfits = Misfits()
        self._again = Again(self._chain.coinbase_maturity)
        self._connection: Connection | None = None
        self._leading = False
        self._fault: str | None = _STARTING
        #: What keeps commands from the topic, though blocks are followed.
        self._relay_fault: str | None = None
        self._relay_backoff = Backoff(0.5, 10.0)
        self._relay_at = 0.0
        self._second_fault: str | None = None
        #: When the node was first asked in vain, of the times since it last answered.
        self._away_since: float | None = None

    # ------------------------------------------------------------------ the loop

    def run(self) -> None:
        """Follow until ``stop``; the block in hand is finished, or never began."""
        try:
            # A block is ten thousand objects without a cycle; walking them costs as much as
            # reading it.
            with collected_seldom() as collect:
                while not self._stopping.is_set():
                    done = self._run_guarded()
                    collect()
                    if not done:
                        self._stopping.wait(self._settings.poll_seconds)
        finally:
            self.close()

    def stop(self) -> None:
        """End after the block in hand; called from any thread."""
        self._stopping.set()

    def close(self) -> None:
        """Let go of the servers, and of the lock."""
        self._relay.close()
        self._bell.close()
        self._node.close()
        if self._second is not None:
            self._second.close()
        if self._connection is not None:
            self._connection.close()

    def _run_guarded(self) -> int:
        """``run_once``, with every fault that the next look may find mended."""
        self.heart.beat()
        try:
            done = self.run_once()
        except NodeAway as away:
            self._is_away(f"node is away: {away}")
        except NodeFault as fault:
            self._alarm(_UNUSABLE, f"the node cannot be followed: {fault}")
            self._sit_out(str(fault))
        except CONTRADICTED as contradiction:
            detail = f"the node's block contradicts what was followed: {contradiction}"
            self._alarm(_UNUSABLE, detail)
            self._sit_out(detail)
        except OUTAGES as outage:
            self._leading = False
            self._sit_out(in_words(outage))
            if self._connection is not None:
                self._connection.close()
        else:
            self._backoff.reset()
            return done
        return 0

    def _sit_out(self, fault: str) -> None:
        self._set_fault(fault)
        seconds = self._backoff.next()
        log.warning("waiting", extra={"cause": fault, "wait": seconds})
        self._stopping.wait(seconds)

    def _set_fault(self, fault: str | None) -> None:
        self._fault = fault
        metrics.STUCK.set(0 if fault is None else 1)

    def _alarm(self, kind: str, detail: str) -> None:
        """Sound it, and again only while it stands for long or after all was well."""
        self._alarms.sound(kind, self._settings.network, detail)

    def _is_away(self, fault: str) -> None:
        """The node does not answer: an alarm once that lasts."""
        now = time.monotonic()
        if self._away_since is None:
            self._away_since = now
        if now - self._away_since >= _AWAY_SECONDS:
            self._alarm(_NODE_AWAY, fault)
        self._sit_out(fault)

    # ------------------------------------------------------------------ one look

    def run_once(self) -> int:
        """Look at the node once and do what that leads to; how many blocks went on or off.

        Raises ``NodeFault`` or one of ``OUTAGES``; everything up to the last block stands.
        """
        connection = self._lead()
        if connection is None:
            self._set_fault(_STANDBY)
            metrics.stand_by("watcher")
            return 0
        self._look_at_orders(connection)
        self._relay_waiting(connection)
        with connection.transaction(), connection.cursor() as cursor:
            state = book.read_state(cursor)
            if state is not None and state.halted:
                # Another start of a halted watcher must not be silent about it.
                self._alarm(_HALTED, f"nothing is followed any more: {state.halted}")
                self._set_fault(f"halted: {state.halted}; `wallet watcher --resume` goes on")
                return 0
            tip = book.tip(cursor)
        sight = sight_of(self._node)
        self._away_since = None
        birthday = self._settings.birthday_height if state is None else state.birthday_height
        if state is not None and state.genesis_hash != self._genesis_hash:
            raise ChainOfAnother(
                f"The database follows the chain that begins with {state.genesis_hash}, not "
                f"{self._genesis_hash} ({self._settings.network}): check WALLET_NETWORK."
            )
        place = None if tip is None else Place(*tip)
        step = next_step(
            self._node,
            sight,
            Followed(birthday, place, lambda count: self._newest(connection, count)),
            chain=self._chain,
            genesis_hash=self._genesis_hash,
            depth_max=self._settings.reorganisation_max,
        )
        if isinstance(step, Wait):
            return self._wait(step.reason)
        with connection.transaction(), connection.cursor() as cursor:
            if state is None:
                book.begin(cursor, self._genesis_hash, birthday)
            book.note_node_height(cursor, sight.height)
        height = birthday - 1 if place is None else place.height
        metrics.LAG_BLOCKS.set(max(sight.height - height, 0))
        match step:
            case Rest():
                done = 0
                self._progress.at_tip(height)
            case Extend():
                done = self._extend(connection, step, place, sight.height)
            case Undo():
                done = self._undo(connection, step)
            case Halt():
                return self._halt(connection, step.reason)
            case _:
                assert_never(step)
        if state is not None and state.rescan_from is not None:
            done += self._again.step(connection, self._node, state)
        self._settle(connection)
        return done

    def _lead(self) -> Connection | None:
        """The connection that holds the lock, if this is the one follower."""
        if self._connection is None or self._connection.closed:
            self._leading = False
            connection = connect(
                self._settings.watcher_database_url,
                application_name="wallet-watcher",
                autocommit=True,
            )
            require_schema(connection)
            connection.execute(f"SET lock_timeout = {_LOCK_MS}")
            self._connection = connection
        if not self._leading:
            self._leading = book.lead(self._connection)
            if self._leading:
                log.info("following")
        return self._connection if self._leading else None

    @staticmethod
    def _newest(connection: Connection, count: int) -> list[str]:
        with connection.transaction(), connection.cursor() as cursor:
            return book.newest_hashes(cursor, count)

    def _wait(self, reason: str) -> int:
        self._alarm(_NOT_FOLLOWED, reason)
        self._set_fault(reason)
        return 0

    def _halt(self, connection: Connection, reason: str) -> int:
        with connection.transaction(), connection.cursor() as cursor:
            book.halt(cursor, reason)
        self._alarm(_HALTED, f"nothing is followed any more: {reason}")
        self._set_fault(f"halted: {reason}")
        return 0

    # ------------------------------------------------------------------ blocks

    def _extend(
        self, connection: Connection, step: Extend, tip: Place | None, node_height: int
    ) -> int:
        """Take the blocks one by one; how many, where the node's chain changes meanwhile."""
        previous = None if tip is None else tip.hash
        with Ahead(self._node, step.hashes) as ahead:
            for done, sought in enumerate(ahead):
                block, height = sought.block, step.height + done
                if self._stopping.is_set() or not self._misfits.fits(block, height, previous):
                    return done
                self._take(connection, sought, node_height, ahead.begin_next)
                previous = block.hash
        return len(step.hashes)

    def _take(
        self,
        connection: Connection,
        sought: Sought,
        node_height: int,
        meanwhile: Callable[[], None],
    ) -> None:
        """Book one block, and tell of it."""
        self.heart.beat()
        metrics.WATCHED.inc(booking.watch_new_addresses(connection))
        booked = booking.book_block(
            connection,
            sought,
            maturity=self._chain.coinbase_maturity,
            crediting=self._second is None,
            meanwhile=meanwhile,
            step=self._step,
        )
        height = sought.block.height
        self._count(booked, height)
        metrics.BLOCKS.labels("followed").inc()
        metrics.LAG_BLOCKS.set(max(node_height - height, 0))
        self._progress.followed(height, node_height)
        if self._second_fault is None:
            self._credit_agreed(connection, height)
        self._relay_waiting(connection)

    def _undo(self, connection: Connection, step: Undo) -> int:
        """Take our tip off; the next look says what comes next."""
        log.warning(
            "undoing a block",
            extra={"height": step.tip.height, "hash": step.tip.hash, "depth": step.depth},
        )
        booked = booking.unbook_tip(connection, step.tip.height, step.tip.hash, step=self._step)
        self._count(booked, step.tip.height - 1)
        metrics.BLOCKS.labels("undone").inc()
        for receipt in booked.reversed:
            metrics.RECEIPTS.labels("reversed").inc()
            self._bell.sound(
                "deposit-reversed",
                f"{receipt.txid}:{receipt.vout}",
                f"A reorganisation took back {format_amount(receipt.amount)} DOGE that user "
                f"{receipt.user_id} was credited, of block {receipt.block_hash}.",
            )
        return 1

    @staticmethod
    def _count(booked: booking.Booked, height: int) -> None:
        metrics.TIP_HEIGHT.set(height)
        metrics.RECEIPTS.labels("received").inc(booked.received)
        metrics.RECEIPTS.labels("insufficient").inc(booked.insufficient)
        metrics.RECEIPTS.labels("credited").inc(booked.credited)
        metrics.COINS_SPENT.inc(booked.spent)

    def _settle(self, connection: Connection) -> None:
        """What is due at the tip, whether or not a block came."""
        with connection.transaction(), connection.cursor() as cursor:
            tip = book.tip(cursor)
        if tip is not None:
            metrics.TIP_HEIGHT.set(tip[0])
            self._credit_agreed(connection, tip[0])
        self._relay_waiting(connection)
        for kind in (_UNUSABLE, _NOT_FOLLOWED, _NODE_AWAY, _HALTED):
            self._alarms.silence(kind, self._settings.network)
        self._set_fault(None)

    # ------------------------------------------------------------------ crediting by two nodes

    def _credit_agreed(self, connection: Connection, tip_height: int) -> None:
        """With a second node, credit what it agrees on; what it doesn't waits for the next look."""
        second = self._second
        if second is None:
            return

        def agrees(block_hash: str, confirmations: int) -> bool:
            header = second.header(block_hash)
            return header is not None and header.confirmations >= confirmations

        try:
            credited, waiting = booking.credit_agreed(connection, tip_height, agrees)
        except NodeFault as fault:
            self._second_fault = f"nothing is credited: the second node: {fault}"
            self._alarm(_SECOND_NODE, self._second_fault)
            return
        self._second_fault = None
        self._alarms.silence(_SECOND_NODE, self._settings.network)
        metrics.RECEIPTS.labels("credited").inc(credited)
        if waiting:
            log.warning("the second node does not agree yet", extra={"blocks": waiting})

    # ------------------------------------------------------------------ commands

    def _relay_waiting(self, connection: Connection) -> None:
        """Send what waits in the outbox; a broker that is away keeps no block from being taken."""
        if time.monotonic() < self._relay_at:
            return
        try:
            while count := self._relay.run_once(connection):
                self.heart.beat()
                metrics.RELAYED.inc(count)
        except KafkaUnavailable as away:
            self._relay_fault = in_words(away)
            self._relay_at = time.monotonic() + self._relay_backoff.next()
            log.warning("commands wait in the outbox", extra={"cause": str(away)})
        else:
            self._relay_fault = None
            self._relay_backoff.reset()

    def _look_at_orders(self, connection: Connection) -> None:
        """What became of the commands: lost ones are sent again, refused ones told until they are
        settled."""
        if not self._orders.look(connection):
            return
        with connection.transaction(), connection.cursor() as cursor:
            refused = refused_receipts(cursor)
        metrics.REFUSED.set(len(refused))
        self._alarms.keep(_REFUSED, {each.idempotency_key for each in refused})
        for each in refused:
            self._alarms.sound(
                _REFUSED,
                each.idempotency_key,
                f"The ledger refused {each.type} ({each.code}), under the key "
                f"{each.idempotency_key}: it says otherwise of the deposit than the chain.",
            )

    # ------------------------------------------------------------------ health

    def fault(self) -> str | None:
        """What keeps this watcher from following or telling, or None."""
        return self._fault or self._relay_fault or self._second_fault or self._progress.behind()
