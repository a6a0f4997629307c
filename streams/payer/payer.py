"""The payer's loop: every step once, in an order in which each finds what the one before left.

All state is in the database, and every step begins by reading it: a crash anywhere is repaired by
going round again.
"""

from __future__ import annotations

from collections.abc import Callable

from db.treasury.payouts import read_tip, survey
from streams.metrics import PAYOUTS_OPEN
from streams.payer.adopting import Recognition
from streams.payer.ancestry import Ancestry
from streams.payer.bumping import replace
from streams.payer.burying import bury
from streams.payer.claiming import claim
from streams.payer.confirming import follow
from streams.payer.office import Office, blindness
from streams.payer.refusals import Refusals
from streams.payer.reserving import reserve_coins
from streams.payer.sealing import seal
from streams.payer.sending import send
from streams.payer.settling import settle
from streams.payer.stranding import Strandings
from streams.payer.unconfirming import unconfirm


class Payer:
    """Does the steps on one connection, which holds the lock of the one payer."""

    def __init__(self, office: Office, relay: Callable[[], int] = lambda: 0) -> None:
        """``relay`` sends what the outbox holds, and says how much that was."""
        self.office = office
        self._relay = relay
        self._ancestry = Ancestry()
        self._recognition = Recognition()
        self._strandings = Strandings()
        self._refusals = Refusals()

    def run_once(self) -> int:
        """Every step that has something to look at; how much was done, 0 if all is to wait.

        Before coins are chosen it is looked at who spent them; what is stored is signed, and what
        is signed is sent, in the same round. Raises the errors of ``db.failures`` and
        ``KafkaUnavailable``; then the next round begins where this one ended.
        """
        office, ancestry = self.office, self._ancestry
        # Outside of a transaction: what comes after it is seen in the next round.
        with office.connection.cursor() as cursor:
            found = survey(cursor)
        PAYOUTS_OPEN.set(found.open)
        # Before anything is paid: what is under way elsewhere must not be paid again.
        self._strandings.look(office)
        done = settle(office) if found.awaited else 0
        unread: frozenset[int] = frozenset()
        if found.held:
            done += unconfirm(office)
        if found.open or done:
            unread = self._recognition.look(office)
            done += follow(office, ancestry, unread)
        if found.held:
            done += bury(office)
        if found.pending:
            done += claim(office)
        if found.to_pay or done:
            done += reserve_coins(office)
        if found.open or done:
            done += replace(office, ancestry, unread)
            done += seal(office)
            done += send(office)
        done += self._relay()
        # Last: a look that fails holds back nothing that was decided.
        self._refusals.look(office)
        return done

    def blindness(self) -> str | None:
        """Why nothing new is paid, None if all is well: what the watcher says of its tip."""
        with self.office.connection.cursor() as cursor:
            return blindness(read_tip(cursor))
