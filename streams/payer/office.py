"""What each step of the payer works with: its database, its limits, and whom it speaks to."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from db.engine import Connection, Cursor
from db.ledger.rules import read_rules
from db.treasury.payouts import Tip, read_tip
from db.treasury.purse import Purse, lock_change_index, use_change_index, watch_change
from processors.dogecoin.building import Change, Template
from processors.dogecoin.derivation import CHANGE_CHAIN, Keychain
from processors.dogecoin.fees import FeePolicy
from processors.dogecoin.keyring import Keyring
from processors.dogecoin.networks import CHAINS
from schemas.addresses import decode_address
from schemas.settings import Settings
from streams.alarms import Bell, Standing
from streams.node.client import NodeFault
from streams.payer.ports import Node, Signer

log = logging.getLogger(__name__)

#: A payment is meant to be in one of so many blocks.
BLOCKS_TO_WAIT: Final = 6
#: Blocks that the watcher may be behind its node before its coins count as out of date.
BEHIND_MAX: Final = 2
#: The watcher says every ten seconds that it asked its node: what it said before is old news.
SILENT_MAX_SECONDS: Final = 300

#: Called at named steps, so that a test can end the process exactly there.
Step = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The settings that the payer works by; money in koinu."""

    network: str
    withdrawals_max: int
    wait_seconds: float
    #: A claim that was refused, its wallet being frozen, is made again after so long.
    retry_seconds: float = 600.0
    policy: FeePolicy
    confirmations: int
    conflict_confirmations: int
    #: A transaction this deep is never undone: the watcher halts before.
    burial_confirmations: int
    bump_seconds: float
    rebroadcast_seconds: float

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """From the settings; raises ``Malformed`` or ``FeesImpossible``."""
        return cls(
            network=settings.network,
            withdrawals_max=settings.payout_withdrawals_max,
            wait_seconds=settings.payout_wait_seconds,
            policy=FeePolicy.of(
                rate=settings.fee_rate, rate_max=settings.fee_rate_max, fee_max=settings.fee_max
            ),
            confirmations=settings.withdrawal_confirmations,
            conflict_confirmations=settings.conflict_confirmations,
            burial_confirmations=max(
                settings.reorganisation_max + 1,
                settings.conflict_confirmations,
                settings.withdrawal_confirmations,
            ),
            bump_seconds=settings.bump_seconds,
            rebroadcast_seconds=settings.rebroadcast_seconds,
        )


@dataclass(kw_only=True)
class Desk:
    """Where coins are chosen and payouts are ordered; no key is needed for that."""

    connection: Connection
    limits: Limits
    #: Whose coins are spent; the rules name the account that change goes to.
    keyring: Keyring
    step: Step = lambda name: None

    @contextmanager
    def work(self, name: str) -> Iterator[Cursor]:
        """One transaction, which reads all as of one moment (``opened``).

        The step ``name`` comes just before the commit, ``name, done`` just after it.
        """
        with self.connection.transaction(), self.connection.cursor() as cursor:
            yield cursor
            self.step(name)
        self.step(f"{name}, done")

    def purse(self, tip: Tip) -> Purse:
        """Our coins as of a tip."""
        maturity = CHAINS[self.limits.network].coinbase_maturity
        return Purse(self.keyring.fingerprints, tip.height, maturity)

    def present(self, cursor: Cursor) -> Keychain:
        """The account that change goes to; raises ``AccountUnknown`` if it is none of ours here."""
        return self.keyring.of(read_rules(cursor).account_key)

    def is_former(self, cursor: Cursor, template: Template) -> bool:
        """Whether a template's change would go to an account that is not the present one."""
        change = template.change
        if change is None or change.derivation_index is None:
            return False
        present = change_at(self.present(cursor), change.derivation_index)
        return change.address != present.address

    def next_change(self, cursor: Cursor) -> Change:
        """An address of ours that nothing was paid to; nobody else gets it meanwhile."""
        keychain = self.present(cursor)
        return change_at(keychain, lock_change_index(cursor, keychain.fingerprint))

    def use_change(self, cursor: Cursor, change: Change) -> None:
        """It will be paid to: watched from here on, before anything can."""
        use_change_of(cursor, self.present(cursor).fingerprint, change)


@dataclass(kw_only=True)
class Office(Desk):
    """Where the steps are done; the connection holds the lock of the one payer."""

    signer: Signer
    node: Node
    bell: Bell
    #: What the node's last answer had wrong with it, None if nothing.
    node_fault: str | None = None
    alarms: Standing = field(init=False)

    def rate(self) -> int:
        """Koinu for 1,000 bytes, by the node's estimate where it has one."""
        try:
            estimate = self.node.fee_rate(BLOCKS_TO_WAIT)
        except NodeFault as fault:
            self.node_fault = f"node is away: {fault}"
            log.warning("no estimate of the fee", extra={"cause": str(fault)})
            estimate = None
        else:
            self.node_fault = None
        return self.limits.policy.rate_for(estimate)

    def refill_address(self) -> str:
        """An address of ours that coins may be sent to and that is no user's: change of index 0."""
        with self.work("refill address") as cursor:
            first = change_at(self.present(cursor), 0)
            if self.next_change(cursor).derivation_index == 0:
                self.use_change(cursor, first)
        return first.address

    def __post_init__(self) -> None:
        self.alarms = Standing(self.bell)

    def alarm(self, kind: str, subject: str, detail: str) -> None:
        """Tell operators, unless they were told of the same lately."""
        self.alarms.sound(kind, subject, detail)

    def silence(self, kind: str, subject: str) -> None:
        """What was wrong is right: tell of it at once if it comes again."""
        self.alarms.silence(kind, subject)


def change_at(keychain: Keychain, index: int) -> Change:
    """An account's change address at an index."""
    return Change(keychain.address(CHANGE_CHAIN, index), index)


def use_change_of(cursor: Cursor, account_key: str, change: Change) -> None:
    """Watch the change address that an account's counter is at, and count on."""
    use_change_index(cursor, account_key, change.derivation_index)
    payload = decode_address(change.address)
    assert payload is not None
    watch_change(cursor, payload[1:], change.address, account_key, change.derivation_index)


def blindness(tip: Tip | None) -> str | None:
    """Why no coins may be chosen by a tip; None if they may."""
    if tip is None:
        return "the watcher has followed no block yet"
    if tip.halted is not None:
        return f"the watcher is halted: {tip.halted}"
    if tip.node_height - tip.height > BEHIND_MAX:
        return f"the watcher is {tip.node_height - tip.height} blocks behind its node"
    if tip.silent_seconds > SILENT_MAX_SECONDS:
        return f"the watcher has had no answer of its node for {tip.silent_seconds} s"
    return None


def usable_tip(cursor: Cursor) -> Tip | None:
    """The tip, if coins may be chosen by it: the watcher is there, on its way, and not behind."""
    tip = read_tip(cursor)
    return tip if blindness(tip) is None else None
