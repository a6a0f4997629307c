"""The baseline's statements: one for each row, prepared once, as one command at a time asks.

They write what the worker writes into the same tables under the same role. What no plan of the
bench asks for is left out: there is no reversal, no claim, no change of rules.
"""

from __future__ import annotations

from typing import Any, Final

from psycopg.types.numeric import Int8BinaryDumper

from bench.kafka import Place
from db.engine import connect
from db.ledger.reads import First
from db.ledger.rules import read_rules
from db.plain import use_plain_values
from processors.incoming import Record
from processors.ledger.postings import EntryRow
from schemas.envelope import Command
from schemas.ids import text_of
from schemas.ledger import DepositStatus, EscrowStatus
from schemas.records import Deposit, DepositAddress, Escrow, Lock, Rules, Wallet, Withdrawal

_FIRST: Final = """
SELECT id, request_hash, outcome::text, code FROM commands
 WHERE user_id = %s AND topic = %s AND idempotency_key = %s AND outcome IN ('accepted', 'rejected')
"""
_LOCK_WALLET: Final = """
SELECT available, bids, escrow, pending, shortfall, frozen_by_operator, version, sequence, time,
       opened_at
  FROM wallets WHERE user_id = %s FOR NO KEY UPDATE
"""
_MAKE_WALLET: Final = "INSERT INTO wallets (user_id) VALUES (%s) ON CONFLICT DO NOTHING"
_WRITE_WALLET: Final = """
UPDATE wallets
   SET available = %s, bids = %s, escrow = %s, pending = %s, version = %s, sequence = %s,
       time = to_timestamp(%s), opened_at = to_timestamp(%s)
 WHERE user_id = %s
"""
_LOCK: Final = """
SELECT amount FROM locks WHERE user_id = %s AND reference_type = %s AND reference_id = %s
"""
_WRITE_LOCK: Final = """
INSERT INTO locks (user_id, reference_type, reference_id, amount) VALUES (%s, %s, %s, %s)
    ON CONFLICT (user_id, reference_type, reference_id) DO UPDATE SET amount = excluded.amount
"""
_ESCROW: Final = """
SELECT id, order_id, buyer_id, seller_id, amount, fee_amount, released, refunded, fees, remaining,
       status::text, dispute_reason, created_at, updated_at
  FROM escrows WHERE
"""
_ESCROW_BY_ID: Final = _ESCROW + " id = %s"
_ESCROW_BY_ORDER: Final = _ESCROW + " buyer_id = %s AND order_id = %s"
_MAKE_ESCROW: Final = """
INSERT INTO escrows (id, order_id, buyer_id, seller_id, amount, fee_amount, released, refunded,
                     fees, remaining, status, created_at, updated_at)
VALUES (%s, %s, %s, %s, %s, %s, 0, 0, 0, %s, 'LOCKED', to_timestamp(%s), to_timestamp(%s))
"""
_CHANGE_ESCROW: Final = """
UPDATE escrows
   SET released = %s, refunded = %s, fees = %s, remaining = %s, status = %s,
       updated_at = to_timestamp(%s)
 WHERE id = %s
"""
_MAKE_WITHDRAWAL: Final = """
INSERT INTO withdrawals (id, user_id, amount, fee, destination_address, status, requested_at,
                         updated_at)
VALUES (%s, %s, %s, %s, %s, %s, to_timestamp(%s), to_timestamp(%s))
"""
_DEPOSIT: Final = """
SELECT user_id, address, amount, status::text, creditings, block_hash, height, detected_at,
       updated_at
  FROM deposits WHERE txid = %s AND vout = %s
"""
_MAKE_DEPOSIT: Final = """
INSERT INTO deposits (txid, vout, user_id, address, amount, status, creditings, block_hash, height,
                      detected_at, updated_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, to_timestamp(%s), to_timestamp(%s))
"""
_ADDRESS: Final = """
SELECT account_key, chain, derivation_index, active, assigned_at
  FROM deposit_addresses WHERE address = %s AND user_id = %s
"""
_ENTRY: Final = "(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, to_timestamp(%s))"
_ENTRIES: Final = """
INSERT INTO entries (id, command_id, user_id, account, entry_type, debit, credit, balance_after,
                     reference_type, reference_id, wallet_version, created_at)
VALUES """
_OUTCOME: Final = """
INSERT INTO commands (id, user_id, topic, type, idempotency_key, request_hash, outcome, code,
                      first_id, document, batch_id, decided_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, 0, to_timestamp(%s))
"""
_LETTER: Final = """
INSERT INTO dead_letters (id, topic, generation, partition, "offset", code, detail, key, value,
                          record_time, batch_id)
VALUES (%s, %s, 1, %s, %s, %s, %s, %s, %s, to_timestamp(%s), 0)
"""
_ADVANCE: Final = """
UPDATE partitions
   SET next_offset = %s, last_offset = NULL, last_digest = NULL, updated_at = now()
 WHERE topic = %s AND partition = %s
"""


class Statements:
    """One connection of the worker's role; a transaction a command, which the caller ends."""

    def __init__(self, url: str) -> None:
        self.connection = connect(url, application_name="wallet-baseline")
        # Every statement comes again and again: prepared the first time it is seen.
        self.connection.prepare_threshold = 0
        use_plain_values(self.connection)
        # One type for every int, so that a statement is prepared once and not for each width.
        self.connection.adapters.register_dumper(int, Int8BinaryDumper)
        self._cursor = self.connection.cursor(binary=True)
        self._entries = {count: _ENTRIES + ", ".join([_ENTRY] * count) for count in range(2, 11, 2)}

    def positions(self) -> dict[Place, int]:
        """Where each partition is to be read on from."""
        self._cursor.execute("SELECT topic, partition, next_offset FROM partitions")
        found = {(row[0], row[1]): row[2] for row in self._cursor.fetchall()}
        self.connection.commit()
        return found

    def rules(self) -> Rules:
        """The present rules."""
        found = read_rules(self._cursor)
        self.connection.commit()
        return found

    def _one(self, statement: str, *values: object) -> tuple[Any, ...] | None:
        return self._cursor.execute(statement, values).fetchone()

    # ------------------------------------------------------------------ reading

    def first_of(self, topic: int, command: Command) -> First | None:
        """The first command of the same key."""
        row = self._one(_FIRST, command.user_id, topic, command.idempotency_key)
        return None if row is None else First(*row)

    def lock_wallet(self, user_id: str) -> Wallet:
        """The user's wallet, locked; made if there is none."""
        row = self._one(_LOCK_WALLET, user_id)
        if row is None:
            self._cursor.execute(_MAKE_WALLET, (user_id,))
            row = self._one(_LOCK_WALLET, user_id)
            assert row is not None
        return Wallet(
            user_id=user_id,
            available=row[0],
            bids=row[1],
            escrow=row[2],
            pending=row[3],
            shortfall=row[4],
            frozen_by_operator=row[5],
            version=row[6],
            sequence=row[7],
            time=row[8],
            opened_at=row[9],
        )

    def lock_of(self, user_id: str, kind: str, reference_id: str) -> list[Lock]:
        """The lock under a reference, if there is one."""
        row = self._one(_LOCK, user_id, kind, reference_id)
        if row is None:
            return []
        return [
            Lock(user_id=user_id, reference_type=kind, reference_id=reference_id, amount=row[0])
        ]

    def escrow(self, escrow_id: str) -> list[Escrow]:
        """An escrow by its id, if there is one."""
        return _escrows(self._one(_ESCROW_BY_ID, escrow_id))

    def escrow_of_order(self, buyer_id: str, order_id: str) -> list[Escrow]:
        """An escrow by its identity, if there is one."""
        return _escrows(self._one(_ESCROW_BY_ORDER, buyer_id, order_id))

    def deposit(self, txid: str, vout: int) -> list[Deposit]:
        """A deposit by its outpoint, if it is known."""
        row = self._one(_DEPOSIT, txid, vout)
        if row is None:
            return []
        return [
            Deposit(
                txid=txid,
                vout=vout,
                user_id=row[0],
                address=row[1],
                amount=row[2],
                status=DepositStatus(row[3]),
                creditings=row[4],
                block_hash=row[5],
                height=row[6],
                detected_at=row[7],
                updated_at=row[8],
            )
        ]

    def address(self, user_id: str, address: str) -> list[DepositAddress]:
        """An address, if it is this user's."""
        row = self._one(_ADDRESS, address, user_id)
        if row is None:
            return []
        return [
            DepositAddress(
                address=address,
                user_id=user_id,
                account_key=row[0],
                chain=row[1],
                derivation_index=row[2],
                active=row[3],
                assigned_at=row[4],
            )
        ]

    # ------------------------------------------------------------------ writing

    def write_wallet(self, w: Wallet) -> None:
        """A locked wallet's new balances."""
        self._cursor.execute(
            _WRITE_WALLET,
            (
                w.available,
                w.bids,
                w.escrow,
                w.pending,
                w.version,
                w.sequence,
                w.time / 1000,
                w.opened_at / 1000,
                w.user_id,
            ),
        )

    def write_lock(self, lock: Lock) -> None:
        """A lock's new amount."""
        self._cursor.execute(
            _WRITE_LOCK, (lock.user_id, lock.reference_type, lock.reference_id, lock.amount)
        )

    def make_escrow(self, e: Escrow) -> None:
        """A new escrow."""
        values = (e.id, e.order_id, e.buyer_id, e.seller_id, e.amount, e.fee_amount, e.remaining)
        times = (e.created_at / 1000, e.updated_at / 1000)
        self._cursor.execute(_MAKE_ESCROW, values + times)

    def change_escrow(self, e: Escrow) -> None:
        """What is left of an escrow."""
        values = (e.released, e.refunded, e.fees, e.remaining, e.status.value)
        self._cursor.execute(_CHANGE_ESCROW, (*values, e.updated_at / 1000, e.id))

    def make_withdrawal(self, w: Withdrawal) -> None:
        """A new withdrawal."""
        values = (w.id, w.user_id, w.amount, w.fee, w.destination_address, w.status.value)
        times = (w.requested_at / 1000, w.updated_at / 1000)
        self._cursor.execute(_MAKE_WITHDRAWAL, values + times)

    def make_deposit(self, d: Deposit) -> None:
        """A new deposit."""
        values = (d.txid, d.vout, d.user_id, d.address, d.amount, d.status.value, d.creditings)
        times = (d.detected_at / 1000, d.updated_at / 1000)
        self._cursor.execute(_MAKE_DEPOSIT, (*values, d.block_hash, d.height, *times))

    def write_entries(
        self, number: int, rows: list[EntryRow], wallets: dict[str, Wallet], time: int
    ) -> None:
        """A command's entries, in one statement, since the database adds up what one inserts."""
        values: list[object] = []
        for leg, row in enumerate(rows, 1):
            owner, account, entry_type, debit, credit, balance, kind, ident = row
            wallet = wallets[owner] if balance is not None else None
            values += (text_of(number + leg), text_of(number), owner, account.value)
            values += (entry_type.value, debit, credit, balance, kind, ident)
            values += (
                (None, time / 1000) if wallet is None else (wallet.version, wallet.time / 1000)
            )
        self._cursor.execute(self._entries[len(rows)], values)

    def write_outcome(
        self,
        command_id: str,
        topic: int,
        command: Command,
        outcome: str,
        code: str | None,
        first_id: str | None,
        document: bytes,
        time: int,
    ) -> None:
        """What became of a command."""
        self._cursor.execute(
            _OUTCOME,
            (
                command_id,
                command.user_id,
                topic,
                command.kind.value,
                command.idempotency_key,
                command.request_hash,
                outcome,
                code,
                first_id,
                document.decode(),
                time / 1000,
            ),
        )

    def write_letter(self, letter_id: str, record: Record, code: str, detail: str) -> None:
        """A record that is no command."""
        place = (letter_id, record.topic, record.partition, record.offset)
        values = (code, detail, record.key, record.value, record.time / 1000)
        self._cursor.execute(_LETTER, place + values)

    def advance(self, record: Record, *, notify: bool) -> None:
        """How far the record's partition is applied; ``notify`` tells the API, as a batch does."""
        end = record.offset + 1
        self._cursor.execute(_ADVANCE, (end, record.topic, record.partition))
        if notify:
            passed = f"{record.topic}:{record.partition}:{end}"
            self._cursor.execute("SELECT pg_notify('wallet_passed', %s)", (passed,))


def _escrows(row: tuple[Any, ...] | None) -> list[Escrow]:
    if row is None:
        return []
    return [
        Escrow(
            id=row[0],
            order_id=row[1],
            buyer_id=row[2],
            seller_id=row[3],
            amount=row[4],
            fee_amount=row[5],
            released=row[6],
            refunded=row[7],
            fees=row[8],
            remaining=row[9],
            status=EscrowStatus(row[10]),
            dispute_reason=row[11],
            created_at=row[12],
            updated_at=row[13],
        )
    ]
