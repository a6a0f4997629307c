"""The payer's commands: what each is keyed by, so that saying a thing twice says it once."""

from __future__ import annotations

from typing import Final

from db.treasury.claims import Payee, claim_key
from db.treasury.outboxes import Order
from schemas.amounts import Koinu
from schemas.commands import (
    DATA_OF,
    ClaimWithdrawal,
    ConfirmWithdrawal,
    Data,
    FailWithdrawal,
    MoveCustody,
    RecordBroadcast,
    RecordNetworkFee,
    UnconfirmWithdrawal,
)
from schemas.envelope import encode_data
from schemas.ledger import HOUSE

_REVERSAL: Final = ":reversal"
_KIND_OF: Final = {data: kind for kind, data in DATA_OF.items()}


def claim(user_id: str, withdrawal_id: str, attempt: int) -> Order:
    """Ask the ledger for a withdrawal."""
    key = claim_key(withdrawal_id, attempt)
    return _order(user_id, key, ClaimWithdrawal(withdrawal_id=withdrawal_id))


def broadcast(payee: Payee, txid: str) -> Order:
    """A node has the payment."""
    key = f"broadcast:{payee.withdrawal_id}:{txid}"
    return _order(payee.user_id, key, RecordBroadcast(withdrawal_id=payee.withdrawal_id, txid=txid))


def confirm(payee: Payee, txid: str, number: int) -> Order:
    """The payment is deep enough, for the ``number``-th time."""
    key = f"confirm:{payee.withdrawal_id}:{number}"
    return _order(
        payee.user_id, key, ConfirmWithdrawal(withdrawal_id=payee.withdrawal_id, txid=txid)
    )


def unconfirm(payee: Payee, txid: str, number: int) -> Order:
    """What was told as the ``number``-th confirmation is no longer so."""
    key = f"unconfirm:{payee.withdrawal_id}:{number}"
    return _order(
        payee.user_id, key, UnconfirmWithdrawal(withdrawal_id=payee.withdrawal_id, txid=txid)
    )


def fail(payee: Payee, reason: str) -> Order:
    """The payment can never confirm."""
    key = f"fail:{payee.withdrawal_id}"
    return _order(
        payee.user_id,
        key,
        FailWithdrawal(withdrawal_id=payee.withdrawal_id, reason=reason[:255]),
    )


def fee_prefix(txid: str) -> str:
    """What the keys of a transaction's fee start with: a posting's, then its reversal's."""
    return f"fee:{txid}:"


def fee_key(txid: str, ordinal: int) -> str:
    """The key of a fee's posting."""
    return f"{fee_prefix(txid)}{ordinal}"


def custody_key(txid: str, ordinal: int) -> str:
    """The key of a sweep's move."""
    return f"custody:{txid}:{ordinal}"


def network_fee(txid: str, amount: int, ordinal: int, *, reverse: bool = False) -> Order:
    """The miner's fee of a confirmed transaction, or its reversal."""
    key = fee_key(txid, ordinal) + (_REVERSAL if reverse else "")
    data = RecordNetworkFee(txid=txid, amount=Koinu(amount), ordinal=ordinal, reverse=reverse)
    return _order(HOUSE, key, data)


def custody(txid: str, amount: int, ordinal: int, *, back: bool = False) -> Order:
    """Coins went to cold storage in a confirmed transaction, or did not after all."""
    key = custody_key(txid, ordinal) + (_REVERSAL if back else "")
    if back:
        return _order(HOUSE, key, MoveCustody(amount=Koinu(amount), source="cold", target="chain"))
    return _order(HOUSE, key, MoveCustody(amount=Koinu(amount), source="chain", target="cold"))


def _order(user_id: str, key: str, data: Data) -> Order:
    return Order(user_id, _KIND_OF[type(data)].value, key, encode_data(data).decode())
