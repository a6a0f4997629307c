"""The books of one batch in memory: what was read from locked wallets, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import assert_never

from schemas.ledger import WithdrawalStatus
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

#: The deposit address of an account, named by its fingerprint, at an index.
Derive = Callable[[str, int], str]


class BatchBooks:
    """Implements ``processors.ledger.model.Books``; keeps apart what the batch has changed."""

    def __init__(
        self,
        *,
        rules: Rules,
        wallets: dict[str, Wallet],
        next_indices: Mapping[str, int] = MappingProxyType({}),
        derive: Derive | None = None,
    ) -> None:
        self.rules = rules
        self.wallets = wallets
        #: By account, for those whose counters are locked.
        self._next_indices = dict(next_indices)
        #: The counters that moved.
        self.moved_indices: dict[str, int] = {}
        self._derive = derive
        self._locks: dict[tuple[str, str, str], Lock] = {}
        self._escrows: dict[str, Escrow] = {}
        self._orders: dict[tuple[str, str], Escrow] = {}
        self._withdrawals: dict[str, Withdrawal] = {}
        self._deposits: dict[tuple[str, int], Deposit] = {}
        self._addresses: dict[tuple[str, str], DepositAddress] = {}
        self._active: dict[str, DepositAddress] = {}
        self._network_fees: dict[str, NetworkFee] = {}
        self.changed_locks: dict[tuple[str, str, str], Lock] = {}
        self.changed_escrows: dict[str, Escrow] = {}
        self.changed_withdrawals: dict[str, Withdrawal] = {}
        self.changed_deposits: dict[tuple[str, int], Deposit] = {}
        self.changed_addresses: dict[str, DepositAddress] = {}
        self.changed_network_fees: dict[str, NetworkFee] = {}
        self.new_rules: list[Rules] = []
        #: Locks that the database has already.
        self.known_locks: set[tuple[str, str, str]] = set()

    def load(self, records: Iterable[Record]) -> None:
        """Take in what the database knows."""
        for record in records:
            self._keep(record)
            if isinstance(record, Lock):
                self.known_locks.add(record.key)

    def put(self, record: Record) -> None:
        """Take in what a decision has made or changed."""
        self._keep(record)
        match record:
            case Lock():
                self.changed_locks[record.key] = record
            case Escrow():
                self.changed_escrows[record.key] = record
            case Withdrawal():
                self.changed_withdrawals[record.key] = record
            case Deposit():
                self.changed_deposits[record.key] = record
            case DepositAddress():
                self.changed_addresses[record.key] = record
            case NetworkFee():
                self.changed_network_fees[record.key] = record
            case Rules():
                self.new_rules.append(record)
            case _:
                assert_never(record)

    def _keep(self, record: Record) -> None:
        match record:
            case Lock():
                self._locks[record.key] = record
            case Escrow():
                self._escrows[record.id] = record
                self._orders[record.buyer_id, record.order_id] = record
            case Withdrawal():
                self._withdrawals[record.id] = record
            case Deposit():
                self._deposits[record.key] = record
            case DepositAddress():
                self._addresses[record.user_id, record.address] = record
                self._keep_active(record)
            case NetworkFee():
                self._network_fees[record.txid] = record
            case Rules():
                self.rules = record
            case _:
                assert_never(record)

    def _keep_active(self, record: DepositAddress) -> None:
        if record.active:
            self._active[record.user_id] = record
        elif self._active.get(record.user_id, record).address == record.address:
            self._active.pop(record.user_id, None)

    # Books, for the decisions.

    def wallet(self, user_id: str) -> Wallet:
        return self.wallets[user_id]

    def lock(self, user_id: str, reference_type: str, reference_id: str) -> Lock | None:
        return self._locks.get((user_id, reference_type, reference_id))

    def escrow(self, escrow_id: str) -> Escrow | None:
        return self._escrows.get(escrow_id)

    def escrow_of_order(self, buyer_id: str, order_id: str) -> Escrow | None:
        return self._orders.get((buyer_id, order_id))

    def withdrawal(self, withdrawal_id: str) -> Withdrawal | None:
        return self._withdrawals.get(withdrawal_id)

    def pending_withdrawals(self, user_id: str) -> list[Withdrawal]:
        return [
            withdrawal
            for withdrawal in self._withdrawals.values()
            if withdrawal.user_id == user_id and withdrawal.status is WithdrawalStatus.PENDING
        ]

    def deposit(self, txid: str, vout: int) -> Deposit | None:
        return self._deposits.get((txid, vout))

    def address(self, user_id: str, address: str) -> DepositAddress | None:
        return self._addresses.get((user_id, address))

    def active_address(self, user_id: str) -> DepositAddress | None:
        return self._active.get(user_id)

    def next_address(self) -> tuple[int, str]:
        account_key = self.rules.account_key
        index = self._next_indices[account_key]
        address = self._address(account_key, index)
        self._next_indices[account_key] = self.moved_indices[account_key] = index + 1
        return index, address

    def first_address(self, account_key: str) -> str:
        return self._address(account_key, 0)

    def _address(self, account_key: str, index: int) -> str:
        if self._derive is None:
            raise KeychainMissing
        return self._derive(account_key, index)

    def network_fee(self, txid: str) -> NetworkFee | None:
        return self._network_fees.get(txid)


class KeychainMissing(Exception):
    """An address is to be assigned, but WALLET_ACCOUNT_XPUB is not set for this worker."""
