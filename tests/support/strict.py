"""Books that a decision finds empty but for what was gathered for it.

The worker decides on no others: whoever looks at more would see nothing of what is stored.
"""

from __future__ import annotations

from typing import cast

from processors.books import BatchBooks
from processors.gathering import Wanted, wanted_by
from processors.incoming import read_batch
from processors.ledger.decide import decide
from processors.ledger.model import Decision, Request
from schemas.commands import Data
from schemas.envelope import Command
from schemas.records import (
    Deposit,
    DepositAddress,
    Escrow,
    Lock,
    NetworkFee,
    Wallet,
    Withdrawal,
)
from tests.support.books import Ledger
from tests.support.commands import MemoryLog, Wire, id_of, wire


class StrictBooks:
    """Books that refuse to be asked for what was not gathered."""

    def __init__(self, wanted: Wanted, source: BatchBooks, own_id: str) -> None:
        self.rules = source.rules
        self._wanted = wanted
        self._source = source
        #: What the command itself makes has its id, and cannot be there before.
        self._own_id = own_id
        self._may_lock = (
            wanted.users
            | wanted.sellers_in_batch
            | {escrow.seller_id for id_ in wanted.paying if (escrow := source.escrow(id_))}
        )
        self._pending = {
            each.id for user in wanted.pending_of for each in source.pending_withdrawals(user)
        }

    def wallet(self, user_id: str) -> Wallet:
        assert user_id in self._may_lock, user_id
        return self._source.wallet(user_id)

    def lock(self, user_id: str, reference_type: str, reference_id: str) -> Lock | None:
        assert (user_id, reference_type, reference_id) in self._wanted.locks
        return self._source.lock(user_id, reference_type, reference_id)

    def escrow(self, escrow_id: str) -> Escrow | None:
        assert escrow_id in self._wanted.escrows | {self._own_id}
        return self._source.escrow(escrow_id)

    def escrow_of_order(self, buyer_id: str, order_id: str) -> Escrow | None:
        assert (buyer_id, order_id) in self._wanted.orders
        return self._source.escrow_of_order(buyer_id, order_id)

    def withdrawal(self, withdrawal_id: str) -> Withdrawal | None:
        assert withdrawal_id in self._wanted.withdrawals | self._pending | {self._own_id}
        return self._source.withdrawal(withdrawal_id)

    def pending_withdrawals(self, user_id: str) -> list[Withdrawal]:
        assert user_id in self._wanted.pending_of
        return self._source.pending_withdrawals(user_id)

    def deposit(self, txid: str, vout: int) -> Deposit | None:
        assert (txid, vout) in self._wanted.outpoints
        return self._source.deposit(txid, vout)

    def address(self, user_id: str, address: str) -> DepositAddress | None:
        assert (user_id, address) in self._wanted.addresses
        return self._source.address(user_id, address)

    def active_address(self, user_id: str) -> DepositAddress | None:
        assert user_id in self._wanted.active_of
        return self._source.active_address(user_id)

    def next_address(self) -> tuple[int, str]:
        assert self._wanted.assigns_address
        return self._source.next_address()

    def first_address(self, account_key: str) -> str:
        return self._source.first_address(account_key)

    def network_fee(self, txid: str) -> NetworkFee | None:
        assert txid in self._wanted.fee_txids
        return self._source.network_fee(txid)


def gathered(record_of: Wire) -> tuple[Request, Wanted]:
    """The command in a batch of its own, and what is gathered for it."""
    (slice_,) = read_batch([MemoryLog().append(record_of)])
    (item,) = slice_.items
    record, command = item.record, item.command
    assert isinstance(command, Command), command
    request = Request(id_of(record), command.user_id, command.data, record.time)
    return request, wanted_by([slice_], {slice_.place: 1})


class StrictLedger(Ledger):
    """Decides each command on what is gathered for it."""

    def decide(self, request: Request) -> Decision:
        _, wanted = gathered(wire(cast("Data", request.data), request.user_id))
        return decide(request, StrictBooks(wanted, self.books, request.id))
