"""One sample of every event, as ``schemas/examples`` shows them."""

from __future__ import annotations

from typing import Final

import msgspec

from schemas.amounts import format_amount
from schemas.commands import TOPIC_OF, CommandType
from schemas.events import (
    AccountResult,
    AddressResult,
    Balance,
    CloudEvent,
    CommandRejected,
    CommandReplayed,
    DepositResult,
    DepositReversedResult,
    EscrowResult,
    EventType,
    FreezeResult,
    LockResult,
    NetworkFeeResult,
    Result,
    RulesResult,
    SaleResult,
    TransferResult,
    WalletResult,
    WithdrawalResult,
)
from schemas.ids import EVENT_LEG, number_of, place_of, text_of
from schemas.ledger import HOUSE, DepositStatus, EscrowStatus, WithdrawalStatus
from schemas.rejections import Rejection
from schemas.samples import (
    ACCOUNT_KEY,
    ADDRESS,
    BLOCK,
    BUYER,
    DESTINATION,
    ESCROW_ID,
    SELLER,
    TIME_MS,
    TXID,
    WITHDRAWAL_ID,
    record_id,
)
from schemas.times import format_time

#: The event that an accepted command gives its own user.
EVENT_OF: Final = {
    CommandType.OPEN_WALLET: EventType.WALLET_OPENED,
    CommandType.ASSIGN_ADDRESS: EventType.ADDRESS_ASSIGNED,
    CommandType.DETECT_DEPOSIT: EventType.DEPOSIT_DETECTED,
    CommandType.PROCESS_DEPOSIT: EventType.DEPOSIT_CONFIRMED,
    CommandType.REVERSE_DEPOSIT: EventType.DEPOSIT_REVERSED,
    CommandType.LOCK_FUNDS: EventType.FUNDS_LOCKED,
    CommandType.UNLOCK_FUNDS: EventType.FUNDS_UNLOCKED,
    CommandType.PAY_ORDER: EventType.ORDER_PAID,
    CommandType.CONVERT_TO_ESCROW: EventType.ESCROW_CREATED,
    CommandType.RELEASE_ESCROW: EventType.ESCROW_RELEASED,
    CommandType.REFUND_ESCROW: EventType.ESCROW_REFUNDED,
    CommandType.DISPUTE_ESCROW: EventType.ESCROW_DISPUTED,
    CommandType.RESOLVE_DISPUTE: EventType.ESCROW_RESOLVED,
    CommandType.REQUEST_WITHDRAWAL: EventType.WITHDRAWAL_REQUESTED,
    CommandType.CANCEL_WITHDRAWAL: EventType.WITHDRAWAL_FAILED,
    CommandType.CLAIM_WITHDRAWAL: EventType.WITHDRAWAL_PROCESSING,
    CommandType.RECORD_BROADCAST: EventType.WITHDRAWAL_BROADCAST,
    CommandType.CONFIRM_WITHDRAWAL: EventType.WITHDRAWAL_CONFIRMED,
    CommandType.UNCONFIRM_WITHDRAWAL: EventType.WITHDRAWAL_UNCONFIRMED,
    CommandType.FAIL_WITHDRAWAL: EventType.WITHDRAWAL_FAILED,
    CommandType.RECORD_NETWORK_FEE: EventType.NETWORK_FEE_RECORDED,
    CommandType.MOVE_CUSTODY: EventType.CUSTODY_MOVED,
    CommandType.FUND: EventType.CAPITAL_FUNDED,
    CommandType.WITHDRAW_REVENUE: EventType.REVENUE_WITHDRAWN,
    CommandType.FREEZE_WALLET: EventType.WALLET_FROZEN,
    CommandType.UNFREEZE_WALLET: EventType.WALLET_UNFROZEN,
    CommandType.SET_RULES: EventType.RULES_CHANGED,
    CommandType.ROTATE_ACCOUNT: EventType.ACCOUNT_ROTATED,
}
#: The event that the seller is told of a buyer's command.
SELLERS_EVENT_OF: Final = {
    CommandType.RELEASE_ESCROW: EventType.SALE_CREDITED,
    CommandType.RESOLVE_DISPUTE: EventType.SALE_CREDITED,
}


def _doge(amount: float) -> str:
    return format_amount(round(amount * 100_000_000))


def _deposit(status: DepositStatus, creditings: int) -> DepositResult:
    return DepositResult(
        txid=TXID,
        vout=0,
        address=ADDRESS,
        amount=_doge(250),
        status=status,
        creditings=creditings,
        block_hash=BLOCK,
        height=5_300_000,
    )


def _escrow(
    status: EscrowStatus, net: float = 0, refunded: float = 0, fees: float = 0
) -> EscrowResult:
    return EscrowResult(
        id=ESCROW_ID,
        order_id="order-7001",
        buyer_id=BUYER,
        seller_id=SELLER,
        amount=_doge(40),
        fee_amount=_doge(1),
        released=_doge(net),
        refunded=_doge(refunded),
        fees=_doge(fees),
        remaining=_doge(40 - net - refunded - fees),
        status=status,
        created_at=format_time(TIME_MS),
    )


def _withdrawal(
    status: WithdrawalStatus, txid: str | None = None, reason: str | None = None
) -> WithdrawalResult:
    return WithdrawalResult(
        id=WITHDRAWAL_ID,
        user_id=BUYER,
        amount=_doge(100),
        fee=_doge(1),
        destination_address=DESTINATION,
        status=status,
        txid=txid,
        reason=reason,
        requested_at=format_time(TIME_MS),
    )


def _lock(locked: float) -> LockResult:
    return LockResult(
        reference_type="auction",
        reference_id="auction-1042",
        amount=_doge(12.5),
        locked=_doge(locked),
    )


RESULTS: Final[dict[EventType, Result]] = {
    EventType.WALLET_OPENED: WalletResult(user_id=BUYER, created=True),
    EventType.ADDRESS_ASSIGNED: AddressResult(
        address=ADDRESS, network="mainnet", minimum=_doge(1), confirmations=20
    ),
    EventType.DEPOSIT_DETECTED: _deposit(DepositStatus.DETECTED, 0),
    EventType.DEPOSIT_CONFIRMED: _deposit(DepositStatus.CREDITED, 1),
    EventType.DEPOSIT_REVERSED: DepositReversedResult(
        **msgspec.structs.asdict(_deposit(DepositStatus.REVERSED, 1)),
        withdrawals_failed=(WITHDRAWAL_ID,),
        shortfall_added=_doge(20),
    ),
    EventType.WITHDRAWAL_REQUESTED: _withdrawal(WithdrawalStatus.PENDING),
    EventType.WITHDRAWAL_PROCESSING: _withdrawal(WithdrawalStatus.PROCESSING),
    EventType.WITHDRAWAL_BROADCAST: _withdrawal(WithdrawalStatus.BROADCAST, TXID),
    EventType.WITHDRAWAL_CONFIRMED: _withdrawal(WithdrawalStatus.CONFIRMED, TXID),
    EventType.WITHDRAWAL_UNCONFIRMED: _withdrawal(WithdrawalStatus.BROADCAST, TXID),
    EventType.WITHDRAWAL_FAILED: _withdrawal(WithdrawalStatus.FAILED, reason="cancelled"),
    EventType.FUNDS_LOCKED: _lock(12.5),
    EventType.FUNDS_UNLOCKED: _lock(0),
    EventType.ORDER_PAID: _escrow(EscrowStatus.LOCKED),
    EventType.ESCROW_CREATED: _escrow(EscrowStatus.LOCKED),
    EventType.ESCROW_RELEASED: _escrow(EscrowStatus.LOCKED, net=9.75, fees=0.25),
    EventType.SALE_CREDITED: SaleResult(
        escrow_id=ESCROW_ID,
        order_id="order-7001",
        buyer_id=BUYER,
        gross=_doge(10),
        fee=_doge(0.25),
        net=_doge(9.75),
        escrow_status=EscrowStatus.LOCKED,
    ),
    EventType.ESCROW_REFUNDED: _escrow(EscrowStatus.REFUNDED, refunded=40),
    EventType.ESCROW_DISPUTED: _escrow(EscrowStatus.DISPUTED),
    EventType.ESCROW_RESOLVED: _escrow(EscrowStatus.RELEASED, net=29.25, refunded=10, fees=0.75),
    EventType.WALLET_FROZEN: FreezeResult(frozen=True, reason="chargeback under investigation"),
    EventType.WALLET_UNFROZEN: FreezeResult(frozen=False, reason=None),
    EventType.NETWORK_FEE_RECORDED: NetworkFeeResult(txid=TXID, amount=_doge(0.0226), posted=True),
    EventType.CUSTODY_MOVED: TransferResult(amount=_doge(5000), source="chain", target="cold"),
    EventType.CAPITAL_FUNDED: TransferResult(amount=_doge(1000), source="capital", target="chain"),
    EventType.REVENUE_WITHDRAWN: TransferResult(amount=_doge(75), source="chain", target="fees"),
    EventType.RULES_CHANGED: RulesResult(version=2),
    EventType.ACCOUNT_ROTATED: AccountResult(
        version=3, account_key=ACCOUNT_KEY, first_address=ADDRESS
    ),
}

_HOUSE_EVENTS: Final = frozenset(
    {
        EventType.NETWORK_FEE_RECORDED,
        EventType.CUSTODY_MOVED,
        EventType.CAPITAL_FUNDED,
        EventType.REVENUE_WITHDRAWN,
        EventType.RULES_CHANGED,
        EventType.ACCOUNT_ROTATED,
    }
)


def _balance(user_id: str) -> Balance:
    bids, escrow = (0.0, 0.0) if user_id == HOUSE else (12.5, 40.0)
    return Balance(
        user_id=user_id,
        available=_doge(197.5 if user_id == BUYER else 0),
        locked=_doge(bids + escrow),
        bids=_doge(bids),
        escrow=_doge(escrow),
        pending=_doge(0),
        shortfall=_doge(0),
        frozen=False,
        version=9,
        updated_at=format_time(TIME_MS),
    )


def _data(event: EventType, user_id: str) -> object:
    if event is EventType.COMMAND_REJECTED:
        return CommandRejected(
            code=Rejection.INSUFFICIENT_FUNDS,
            message=Rejection.INSUFFICIENT_FUNDS.line,
            type=CommandType.LOCK_FUNDS,
            idempotency_key="lock_funds:1042",
        )
    if event is EventType.COMMAND_REPLAYED:
        return CommandReplayed(
            first_command_id=ESCROW_ID,
            outcome="accepted",
            code=None,
            idempotency_key="pay_order:1042",
        )
    return {"result": RESULTS[event], "balance": _balance(user_id)}


def event_value(event: EventType) -> bytes:
    """The record's value of an event's sample."""
    user_id = HOUSE if event in _HOUSE_EVENTS else BUYER
    causes = [kind for kind, caused in EVENT_OF.items() if caused is event]
    topic = TOPIC_OF[causes[0] if causes else CommandType.LOCK_FUNDS]
    command_id = record_id(topic, 60)
    leg = EVENT_LEG
    key: str | msgspec.UnsetType = f"{causes[0]}:1042" if causes else "lock_funds:1042"
    if event is EventType.SALE_CREDITED:
        user_id, leg, key = SELLER, EVENT_LEG + 1, msgspec.UNSET
    place, _ = place_of(command_id)
    return msgspec.json.encode(
        CloudEvent(
            id=text_of(number_of(place, leg)),
            source="wallet",
            type=event,
            subject=user_id,
            time=format_time(TIME_MS),
            sequence=9,
            causationid=command_id,
            idempotencykey=key,
            data=msgspec.Raw(msgspec.json.encode(_data(event, user_id))),
        )
    )
