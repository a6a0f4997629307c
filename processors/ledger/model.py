"""What a decision sees, and what it may say: a pure ledger's vocabulary."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import msgspec

from schemas.events import EventType, Result
from schemas.ledger import Account, EntryType
from schemas.records import (
    Deposit,
    DepositAddress,
    Escrow,
    Lock,
    NetworkFee,
    Record,
    Rules,
    Wallet,
    Withdrawal,
)
from schemas.rejections import Rejection


class Request(msgspec.Struct, frozen=True, gc=False):
    """A command as a decision sees it.

    ``id`` is its place in the log as a UUID; ``time`` is the wallet's time in milliseconds: the
    later of what the command's own wallet has seen and the record's LogAppendTime.
    """

    id: str
    user_id: str
    data: msgspec.Struct
    time: int


class Books(Protocol):
    """The state that a decision may read: wallets that the batch has locked, and what is theirs.

    Every look-up is of the present state, earlier commands of the same batch included.
    """

    rules: Rules

    def wallet(self, user_id: str) -> Wallet:
        """The wallet of a user; there always is one."""

    def lock(self, user_id: str, reference_type: str, reference_id: str) -> Lock | None:
        """What is locked under a reference."""

    def escrow(self, escrow_id: str) -> Escrow | None:
        """An escrow by its id."""

    def escrow_of_order(self, buyer_id: str, order_id: str) -> Escrow | None:
        """An escrow by its identity."""

    def withdrawal(self, withdrawal_id: str) -> Withdrawal | None:
        """A withdrawal by its id."""

    def pending_withdrawals(self, user_id: str) -> Iterable[Withdrawal]:
        """A user's withdrawals that nobody has claimed."""

    def deposit(self, txid: str, vout: int) -> Deposit | None:
        """A deposit by its outpoint."""

    def address(self, user_id: str, address: str) -> DepositAddress | None:
        """An address, if it was ever given to this user."""

    def active_address(self, user_id: str) -> DepositAddress | None:
        """The address that the user is shown."""

    def next_address(self) -> tuple[int, str]:
        """Index and text of the next address of the rules' account; taken once asked for."""

    def first_address(self, account_key: str) -> str:
        """The address of index 0 of an account; fails for one that this worker does not know."""

    def network_fee(self, txid: str) -> NetworkFee | None:
        """A posted network fee by its transaction."""


class Side(msgspec.Struct, frozen=True, gc=False):
    """One account of one owner; house accounts belong to ``HOUSE``."""

    user_id: str
    account: Account


class Posting(msgspec.Struct, frozen=True, gc=False):
    """Money moves: ``debit`` and ``credit`` get one entry each, of the same amount."""

    debit: Side
    credit: Side
    amount: int
    entry_type: EntryType
    reference_type: str | None
    reference_id: str | None


class Notice(msgspec.Struct, frozen=True, gc=False):
    """One event: to whom it happened, what, and with which result."""

    user_id: str
    event: EventType
    result: Result


class Acceptance(msgspec.Struct, frozen=True, gc=False):
    """A command goes through: its postings, the records it changes, and one notice a wallet.

    The first notice is the outcome of the command and goes to its own user.
    """

    notices: tuple[Notice, ...]
    postings: tuple[Posting, ...] = ()
    records: tuple[Record, ...] = ()
    #: The operator's freeze of the command's own wallet, if it changes.
    freeze: bool | None = None


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """A command is rejected; nothing but its outcome is written."""

    code: Rejection
    detail: str = ""


Decision = Acceptance | Refusal
