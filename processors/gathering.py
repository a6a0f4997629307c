"""What a batch's commands will ask of the books, found out before anything is locked. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from processors.incoming import Slice
from schemas.commands import (
    AssignAddress,
    CancelWithdrawal,
    ClaimWithdrawal,
    ConfirmWithdrawal,
    ConvertToEscrow,
    DetectDeposit,
    DisputeEscrow,
    FailWithdrawal,
    LockFunds,
    PayOrder,
    ProcessDeposit,
    RecordBroadcast,
    RecordNetworkFee,
    RefundEscrow,
    ReleaseEscrow,
    RequestWithdrawal,
    ResolveDispute,
    ReverseDeposit,
    RotateAccount,
    SetRules,
    UnconfirmWithdrawal,
    UnlockFunds,
)
from schemas.envelope import Command
from schemas.ids import Place, number_of, text_of


class Wanted(msgspec.Struct):
    """Keys of everything that a batch reads, and whose wallets it locks."""

    keys: set[tuple[str, int, str]] = msgspec.field(default_factory=set)
    users: set[str] = msgspec.field(default_factory=set)
    #: Sellers in escrows that this very batch makes, by the escrow's id.
    new_sellers: dict[str, str] = msgspec.field(default_factory=dict)
    #: Escrows whose seller may be paid.
    paying: set[str] = msgspec.field(default_factory=set)
    locks: set[tuple[str, str, str]] = msgspec.field(default_factory=set)
    escrows: set[str] = msgspec.field(default_factory=set)
    orders: set[tuple[str, str]] = msgspec.field(default_factory=set)
    withdrawals: set[str] = msgspec.field(default_factory=set)
    pending_of: set[str] = msgspec.field(default_factory=set)
    outpoints: set[tuple[str, int]] = msgspec.field(default_factory=set)
    addresses: set[tuple[str, str]] = msgspec.field(default_factory=set)
    active_of: set[str] = msgspec.field(default_factory=set)
    fee_txids: set[str] = msgspec.field(default_factory=set)
    changes_rules: bool = False

    @property
    def assigns_address(self) -> bool:
        """Whether the account's counter has to be locked."""
        return bool(self.active_of)

    @property
    def sellers_in_batch(self) -> set[str]:
        """Sellers that may be paid out of an escrow made in this batch."""
        return {self.new_sellers[id_] for id_ in self.paying if id_ in self.new_sellers}


def wanted_by(slices: Sequence[Slice], generations: Mapping[tuple[int, int], int]) -> Wanted:
    """What these slices want; ``generations`` is by (topic, partition)."""
    wanted = Wanted()
    for slice_ in slices:
        generation = generations[slice_.place]
        for item in slice_.items:
            record, command = item.record, item.command
            if not isinstance(command, Command):
                continue
            wanted.users.add(command.user_id)
            wanted.keys.add((command.user_id, record.topic, command.idempotency_key))
            want = _WANTS.get(type(command.data))
            if want is not None:
                want(wanted, command.user_id, command.data)
            if isinstance(command.data, PayOrder):
                place = Place(record.topic, generation, record.partition, record.offset)
                wanted.new_sellers[text_of(number_of(place))] = command.data.seller_id
    return wanted


def _lock(wanted: Wanted, user_id: str, data: LockFunds | ConvertToEscrow) -> None:
    wanted.locks.add((user_id, data.reference_type, data.reference_id))


def _pay(wanted: Wanted, user_id: str, data: PayOrder) -> None:
    wanted.orders.add((user_id, data.order_id))


def _convert(wanted: Wanted, user_id: str, data: ConvertToEscrow) -> None:
    _lock(wanted, user_id, data)
    _pay(wanted, user_id, data)


def _escrow(wanted: Wanted, user_id: str, data: RefundEscrow | DisputeEscrow) -> None:
    wanted.escrows.add(data.escrow_id)


def _sale(wanted: Wanted, user_id: str, data: ReleaseEscrow | ResolveDispute) -> None:
    wanted.escrows.add(data.escrow_id)
    wanted.paying.add(data.escrow_id)


def _request(wanted: Wanted, user_id: str, data: RequestWithdrawal) -> None:
    wanted.addresses.add((user_id, data.address))


def _withdrawal(wanted: Wanted, user_id: str, data: CancelWithdrawal) -> None:
    wanted.withdrawals.add(data.withdrawal_id)


def _deposit(wanted: Wanted, user_id: str, data: DetectDeposit) -> None:
    wanted.outpoints.add((data.txid, data.vout))
    wanted.addresses.add((user_id, data.address))


def _reversal(wanted: Wanted, user_id: str, data: ReverseDeposit) -> None:
    wanted.outpoints.add((data.txid, data.vout))
    wanted.pending_of.add(user_id)


def _assign(wanted: Wanted, user_id: str, data: AssignAddress) -> None:
    wanted.active_of.add(user_id)


def _fee(wanted: Wanted, user_id: str, data: RecordNetworkFee) -> None:
    wanted.fee_txids.add(data.txid)


def _rules(wanted: Wanted, user_id: str, data: SetRules | RotateAccount) -> None:
    wanted.changes_rules = True


#: What is wanted by the commands that want more than their own wallet.
_WANTS: Final[dict[type[msgspec.Struct], Callable[[Wanted, str, Any], None]]] = {
    LockFunds: _lock,
    UnlockFunds: _lock,
    PayOrder: _pay,
    ConvertToEscrow: _convert,
    ReleaseEscrow: _sale,
    RefundEscrow: _escrow,
    DisputeEscrow: _escrow,
    ResolveDispute: _sale,
    RequestWithdrawal: _request,
    CancelWithdrawal: _withdrawal,
    ClaimWithdrawal: _withdrawal,
    RecordBroadcast: _withdrawal,
    ConfirmWithdrawal: _withdrawal,
    UnconfirmWithdrawal: _withdrawal,
    FailWithdrawal: _withdrawal,
    DetectDeposit: _deposit,
    ProcessDeposit: _deposit,
    ReverseDeposit: _reversal,
    AssignAddress: _assign,
    RecordNetworkFee: _fee,
    SetRules: _rules,
    RotateAccount: _rules,
}
