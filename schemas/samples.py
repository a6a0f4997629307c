"""One sample of everything on the wire; ``schemas/examples`` and the catalogue are made of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final, NamedTuple

import msgspec

from schemas.amounts import KOINU_PER_DOGE, Koinu, Share
from schemas.commands import (
    DATA_OF,
    HOUSE_COMMANDS,
    TOPIC_OF,
    AssignAddress,
    CancelWithdrawal,
    ClaimWithdrawal,
    CommandType,
    ConfirmationTier,
    ConfirmWithdrawal,
    ConvertToEscrow,
    Data,
    DetectDeposit,
    DisputeEscrow,
    FailWithdrawal,
    FreezeWallet,
    Fund,
    LockFunds,
    MoveCustody,
    OpenWallet,
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
    UnfreezeWallet,
    UnlockFunds,
    WithdrawRevenue,
)
from schemas.envelope import encode_command
from schemas.ids import Place, number_of, text_of
from schemas.ledger import HOUSE
from schemas.publications import Alert, DeadLetterNotice, Manifest
from schemas.rejections import Malformed, Rejection, is_dead_letter
from schemas.times import format_time
from schemas.topics import RECORD_MAX_BYTES, CommandTopic

BUYER: Final = "5b2cf6a8-7f35-4a38-9a53-0b9c1f6f8f10"
SELLER: Final = "c1a0a9b2-3d64-4f0e-8f43-6f1f1f0c7d22"
TIME_MS: Final = 1_767_225_600_000
TXID: Final = "3f" * 32
BLOCK: Final = "1a" * 32
#: Number 0 of the test mnemonic "abandon … about", on mainnet; number 1 is somebody else's.
ADDRESS: Final = "DBus3bamQjgJULBJtYXpEzDWQRwF5iwxgC"
#: The fingerprint of an account.
ACCOUNT_KEY: Final = "5f1c9a04e7d23b68"
DESTINATION: Final = "DAcDAtJRztxBHyA6D6h8du1HguyTR43Mas"


def record_id(topic: CommandTopic, offset: int) -> str:
    """The id of a command in partition 3 of a topic."""
    return text_of(number_of(Place(topic, 1, 3, offset)))


ESCROW_ID: Final = record_id(CommandTopic.SERVICES, 41)
WITHDRAWAL_ID: Final = record_id(CommandTopic.USERS, 7)


def _doge(amount: float) -> Koinu:
    return Koinu(round(amount * KOINU_PER_DOGE))


_BID: Final = {"reference_type": "auction", "reference_id": "auction-1042"}

COMMANDS: Final[dict[CommandType, Data]] = {
    CommandType.OPEN_WALLET: OpenWallet(),
    CommandType.ASSIGN_ADDRESS: AssignAddress(rotate=False),
    CommandType.DETECT_DEPOSIT: DetectDeposit(
        txid=TXID, vout=0, address=ADDRESS, amount=_doge(250), block_hash=BLOCK, height=5_300_000
    ),
    CommandType.PROCESS_DEPOSIT: ProcessDeposit(
        txid=TXID,
        vout=0,
        address=ADDRESS,
        amount=_doge(250),
        block_hash=BLOCK,
        height=5_300_000,
        ordinal=1,
    ),
    CommandType.REVERSE_DEPOSIT: ReverseDeposit(txid=TXID, vout=0, ordinal=1),
    CommandType.LOCK_FUNDS: LockFunds(amount=_doge(12.5), **_BID),
    CommandType.UNLOCK_FUNDS: UnlockFunds(amount=_doge(12.5), **_BID),
    CommandType.PAY_ORDER: PayOrder(seller_id=SELLER, order_id="order-7001", amount=_doge(40)),
    CommandType.CONVERT_TO_ESCROW: ConvertToEscrow(
        seller_id=SELLER, order_id="order-7002", amount=_doge(12), **_BID
    ),
    CommandType.RELEASE_ESCROW: ReleaseEscrow(escrow_id=ESCROW_ID, amount=_doge(10)),
    CommandType.REFUND_ESCROW: RefundEscrow(escrow_id=ESCROW_ID),
    CommandType.DISPUTE_ESCROW: DisputeEscrow(escrow_id=ESCROW_ID, reason="arrived broken"),
    CommandType.RESOLVE_DISPUTE: ResolveDispute(
        escrow_id=ESCROW_ID, to_seller=Share(_doge(30)), to_buyer=Share(_doge(10))
    ),
    CommandType.REQUEST_WITHDRAWAL: RequestWithdrawal(amount=_doge(100), address=DESTINATION),
    CommandType.CANCEL_WITHDRAWAL: CancelWithdrawal(withdrawal_id=WITHDRAWAL_ID),
    CommandType.CLAIM_WITHDRAWAL: ClaimWithdrawal(withdrawal_id=WITHDRAWAL_ID),
    CommandType.RECORD_BROADCAST: RecordBroadcast(withdrawal_id=WITHDRAWAL_ID, txid=TXID),
    CommandType.CONFIRM_WITHDRAWAL: ConfirmWithdrawal(withdrawal_id=WITHDRAWAL_ID, txid=TXID),
    CommandType.UNCONFIRM_WITHDRAWAL: UnconfirmWithdrawal(withdrawal_id=WITHDRAWAL_ID, txid=TXID),
    CommandType.FAIL_WITHDRAWAL: FailWithdrawal(
        withdrawal_id=WITHDRAWAL_ID, reason="a conflicting transaction is 60 blocks deep"
    ),
    CommandType.RECORD_NETWORK_FEE: RecordNetworkFee(txid=TXID, amount=_doge(0.0226)),
    CommandType.MOVE_CUSTODY: MoveCustody(amount=_doge(5000), source="chain", target="cold"),
    CommandType.FUND: Fund(amount=_doge(1000)),
    CommandType.WITHDRAW_REVENUE: WithdrawRevenue(amount=_doge(75)),
    CommandType.FREEZE_WALLET: FreezeWallet(reason="chargeback under investigation"),
    CommandType.UNFREEZE_WALLET: UnfreezeWallet(),
    CommandType.ROTATE_ACCOUNT: RotateAccount(account_key=ACCOUNT_KEY),
    CommandType.SET_RULES: SetRules(
        escrow_fee_basis_points=250,
        withdrawal_fee=Share(_doge(1)),
        withdrawal_minimum=_doge(10),
        withdrawal_maximum=_doge(1_000_000),
        deposit_minimum=Share(_doge(1)),
        confirmations=(
            ConfirmationTier(exposure=Share(0), confirmations=20),
            ConfirmationTier(exposure=Share(_doge(100_000)), confirmations=40),
            ConfirmationTier(exposure=Share(_doge(1_000_000)), confirmations=60),
        ),
    ),
}

_ISSUERS: Final = {
    CommandTopic.SERVICES: "auctions",
    CommandTopic.USERS: "api",
    CommandTopic.TREASURY: "watcher",
}


def user_of(kind: CommandType) -> str:
    """Who a sample is keyed by."""
    return HOUSE if kind in HOUSE_COMMANDS else BUYER


def command_value(kind: CommandType) -> bytes:
    """The record's value of a command's sample."""
    return encode_command(
        kind,
        user_id=user_of(kind),
        idempotency_key=f"{kind}:1042",
        data=COMMANDS[kind],
        issuer=_ISSUERS[TOPIC_OF[kind]],
        issued_at=datetime(2026, 1, 1, tzinfo=UTC),
        id=f"trace-{list(DATA_OF).index(kind) + 1:04d}",
    )


class Wreck(NamedTuple):
    """A record that is no command, and whether it stands in its key's partition."""

    topic: CommandTopic
    key: bytes | None
    value: bytes | None
    placed: bool = True


def _wreck(changes: dict[str, object], data: dict[str, object] | None = None) -> Wreck:
    """The sample of ``lock_funds`` with some fields changed; ``...`` takes one away."""
    document = msgspec.json.decode(command_value(CommandType.LOCK_FUNDS))
    for part, changed in ((document, changes), (document["data"], data or {})):
        for name, value in changed.items():
            if value is ...:
                del part[name]
            else:
                part[name] = value
    key = str(document.get("user_id", BUYER)).encode()
    return Wreck(CommandTopic.SERVICES, key, msgspec.json.encode(document))


def _in_treasury(kind: CommandType, data: dict[str, object]) -> Wreck:
    document = msgspec.json.decode(command_value(kind))
    document["data"] |= data
    key = document["user_id"].encode()
    return Wreck(CommandTopic.TREASURY, key, msgspec.json.encode(document))


_SOUND: Final = command_value(CommandType.LOCK_FUNDS)
_KEY: Final = BUYER.encode()
_SERVICES: Final = CommandTopic.SERVICES

#: One record for each way in which a record cannot be read as a command. ``UNPROCESSABLE`` is the
#: one that reading does not find: the database refuses a command that looks sound.
WRECKS: Final[dict[Rejection, Wreck]] = {
    Rejection.EMPTY_RECORD: Wreck(_SERVICES, _KEY, None),
    Rejection.TOO_LARGE: Wreck(_SERVICES, _KEY, _SOUND.ljust(RECORD_MAX_BYTES + 1)),
    Rejection.NOT_UTF8: Wreck(_SERVICES, _KEY, _SOUND.replace(b"auctions", b"\xe9ncheres")),
    Rejection.NOT_JSON: Wreck(_SERVICES, _KEY, _SOUND[:-1]),
    Rejection.NOT_AN_OBJECT: Wreck(_SERVICES, _KEY, b"[" + _SOUND + b"]"),
    Rejection.UNKNOWN_FIELD: _wreck({}, {"currency": "DOGE"}),
    Rejection.MISSING_FIELD: _wreck({"idempotency_key": ...}),
    Rejection.WRONG_TYPE: _wreck({"issuer": None}),
    Rejection.WRONG_VERSION: _wreck({"version": 2}),
    Rejection.UNKNOWN_TYPE: _wreck({"type": "lock_money"}),
    Rejection.NOT_PERMITTED_HERE: _in_treasury(CommandType.PROCESS_DEPOSIT, {})._replace(
        topic=_SERVICES
    ),
    Rejection.BAD_USER_ID: _wreck({"user_id": BUYER.upper()}),
    Rejection.KEY_MISMATCH: Wreck(_SERVICES, SELLER.encode(), _SOUND),
    Rejection.MISPLACED: Wreck(_SERVICES, _KEY, _SOUND, placed=False),
    Rejection.BAD_ID: _in_treasury(CommandType.PROCESS_DEPOSIT, {"txid": "3F" * 32}),
    Rejection.BAD_IDEMPOTENCY_KEY: _wreck({"idempotency_key": "k" * 256}),
    Rejection.BAD_TEXT: _wreck({}, {"reference_id": ""}),
    Rejection.CONTROL_CHARACTERS: _wreck({}, {"reference_id": "auction\n1042"}),
    Rejection.BAD_NUMBER: _in_treasury(CommandType.PROCESS_DEPOSIT, {"ordinal": 0}),
    Rejection.BAD_CHOICE: _in_treasury(CommandType.MOVE_CUSTODY, {"target": "mattress"}),
    Rejection.BAD_TIME: _wreck({"issued_at": "2026-01-01T00:00:00"}),
    Rejection.AMOUNT_NOT_TEXT: _wreck({}, {"amount": 12.5}),
    Rejection.AMOUNT_MALFORMED: _wreck({}, {"amount": "12,5"}),
    Rejection.AMOUNT_NEGATIVE: _wreck({}, {"amount": "-12.5"}),
    Rejection.AMOUNT_TOO_PRECISE: _wreck({}, {"amount": "12.500000001"}),
    Rejection.AMOUNT_TOO_LARGE: _wreck({}, {"amount": "92233720368.54775808"}),
    Rejection.AMOUNT_ZERO: _wreck({}, {"amount": "0.00000000"}),
    Rejection.WRONG_USER: _wreck({"user_id": HOUSE}),
    Rejection.UNPROCESSABLE: Wreck(_SERVICES, _KEY, _SOUND),
}
assert list(WRECKS) == [code for code in Rejection if is_dead_letter(code)]


def dead_letter(code: Rejection) -> DeadLetterNotice:
    """The notice that the worker publishes of a wreck."""
    wreck = WRECKS[code]
    place = Place(wreck.topic, 1, 3, 100 + list(WRECKS).index(code))
    return DeadLetterNotice(
        id=text_of(number_of(place)),
        topic=place.topic,
        partition=place.partition,
        offset=place.offset,
        code=code.value,
        detail=Malformed(code).detail,
        key=wreck.key,
        value=wreck.value,
        time=format_time(TIME_MS),
    )


MANIFEST: Final = Manifest(
    batch_id=17,
    logic_version=1,
    rules_version=1,
    topic=CommandTopic.SERVICES,
    partition=3,
    generation=1,
    first_offset=41,
    last_offset=44,
    commands=4,
    entries=8,
    digest="5e" * 32,
    chain="c4" * 32,
    slices=((0, 3, 41, 44), (1, 3, 7, 7)),
)

ALERT: Final = Alert(
    kind="withdrawal-velocity",
    subject=BUYER,
    detail="20 of withdrawal.requested, 2000.00000000 DOGE in 60 minutes",
    source="views",
    time=format_time(TIME_MS + 1_000),
    incident=f"withdrawal-velocity/{BUYER}/{format_time(TIME_MS)}",
    state="started",
    started_at=format_time(TIME_MS),
    do="Look at the user's history.",
)
