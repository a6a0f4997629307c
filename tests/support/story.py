"""A small history with everything in it, told in chapters: each command's place is known before.

A chapter needs what the one before brought about, so it is told once that is decided; within a
chapter no command depends on another partition's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Final

from processors.dogecoin.derivation import EXTERNAL_CHAIN, account_keys
from processors.dogecoin.keyring import Keyring
from processors.incoming import Record
from schemas.amounts import KOINU_PER_DOGE, Koinu, Share
from schemas.commands import (
    DATA_OF,
    TOPIC_OF,
    AssignAddress,
    CancelWithdrawal,
    ClaimWithdrawal,
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
from schemas.topics import CommandTopic
from streams.kafka.config import partition_of

ANN: Final = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
BOB: Final = "bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb"
CAT: Final = "cccccccc-cccc-4ccc-8ccc-cccccccccccc"
DAN: Final = "dddddddd-dddd-4ddd-8ddd-dddddddddddd"
USERS: Final = (ANN, BOB, CAT, DAN)
#: Two accounts: the rules name the first one, until the story rotates to the other.
XPUB: Final = ",".join(
    account_keys(seed, "regtest")[1] for seed in (bytes(range(64)), bytes(range(64, 128)))
)
KEYRING: Final = Keyring(XPUB, "regtest")
BLOCK: Final = "b" * 64
START_MS: Final = 1_767_225_600_000
#: Nobody's deposit address.
ELSEWHERE: Final = KEYRING.first.address(EXTERNAL_CHAIN, 1_000_000)

_KIND_OF: Final = {data: kind for kind, data in DATA_OF.items()}


def doge(amount: float) -> Koinu:
    """DOGE as koinu."""
    return Koinu(round(amount * KOINU_PER_DOGE))


def txid(number: int) -> str:
    """A transaction id, another for each number."""
    return f"{number:064x}"


#: Finds the address that a user was given, once it is decided.
AddressOf = Callable[[str], str]


class Story:
    """Tells chapters of records; ``partitions`` is the count of each topic."""

    def __init__(self, partitions: int = 4) -> None:
        self.partitions = partitions
        self.told = 0
        self._ends: Counter[tuple[int, int]] = Counter()
        self._chapter: list[Record] = []
        self._time = START_MS
        self._addresses: dict[str, str] = {}
        self.ids: dict[str, str] = {}

    def do(
        self,
        user: str,
        data: Data,
        *,
        key: str | None = None,
        topic: CommandTopic | None = None,
    ) -> str:
        """A command of a user; answers its id."""
        kind = _KIND_OF[type(data)]
        self.told += 1
        value = encode_command(
            kind,
            user_id=user,
            idempotency_key=key or f"key-{self.told}",
            data=data,
            issuer="story",
            issued_at=datetime.fromtimestamp(self._time / 1000, UTC),
            id=f"story-{self.told}",
        )
        return self.write(TOPIC_OF[kind] if topic is None else topic, user.encode(), value)

    def write(self, topic: CommandTopic, key: bytes, value: bytes) -> str:
        """Any record; answers its place as an id."""
        partition = partition_of(key, self.partitions)
        offset = self._ends[topic, partition]
        self._ends[topic, partition] += 1
        self._time += 1000
        self._chapter.append(Record(topic, partition, offset, self._time, key, value))
        return text_of(number_of(Place(topic, 1, partition, offset)))

    def close(self) -> list[Record]:
        """The chapter as it was told so far; the next one begins."""
        chapter, self._chapter = self._chapter, []
        return chapter

    # ------------------------------------------------------------------ the history

    def chapters(self, address_of: AddressOf) -> Iterator[list[Record]]:
        """Every chapter in turn; the next is asked for when this one is decided."""
        for user in USERS:
            # One by one, so that who gets which address does not hang on the worker.
            self.do(user, OpenWallet())
            self.do(user, AssignAddress())
            yield self.close()
        self._addresses = {user: address_of(user) for user in USERS}
        for tell in (
            self._money_comes,
            self._bids_and_orders,
            self._orders_are_settled,
            self._money_goes,
            self._rules_change,
            self._money_is_taken_back,
            self._debts_are_paid,
            self._the_account_is_replaced,
            self._addresses_follow,
            self._nothing_is_understood,
        ):
            tell()
            yield self.close()

    def _deposit(self, user: str, number: int, amount: float, ordinal: int = 1) -> None:
        self.do(
            user,
            ProcessDeposit(
                txid=txid(number),
                vout=0,
                address=self._addresses[user],
                amount=doge(amount),
                block_hash=BLOCK,
                height=100 + number,
                ordinal=ordinal,
            ),
            key=f"deposit:{txid(number)}:0:{ordinal}",
        )

    def _money_comes(self) -> None:
        self.do(HOUSE, Fund(amount=doge(5_000)))
        self.do(
            ANN,
            DetectDeposit(
                txid=txid(1),
                vout=0,
                address=self._addresses[ANN],
                amount=doge(1_000),
                block_hash=BLOCK,
                height=101,
            ),
        )
        self._deposit(ANN, 1, 1_000)
        self._deposit(BOB, 2, 500)
        self._deposit(CAT, 3, 300)
        self._deposit(DAN, 4, 0.5)  # under the minimum

    def _bids_and_orders(self) -> None:
        bid = {"reference_type": "auction", "reference_id": "a-1"}
        self.do(ANN, LockFunds(amount=doge(100), **bid), key="lock-1")
        self.do(ANN, LockFunds(amount=doge(100), **bid), key="lock-1")  # replayed
        self.do(ANN, LockFunds(amount=doge(101), **bid), key="lock-1")  # key reused
        self.do(ANN, LockFunds(amount=doge(9_999), **bid))  # insufficient
        self.do(ANN, UnlockFunds(amount=doge(20), **bid))
        self.ids["order-1"] = self.do(
            ANN, ConvertToEscrow(seller_id=BOB, order_id="o-1", amount=doge(70), **bid)
        )
        self.ids["order-2"] = self.do(ANN, PayOrder(seller_id=BOB, order_id="o-2", amount=doge(40)))
        self.ids["order-3"] = self.do(BOB, PayOrder(seller_id=CAT, order_id="o-3", amount=doge(60)))
        self.ids["order-4"] = self.do(
            CAT, PayOrder(seller_id=ANN, order_id="o-4", amount=doge(33.33333333))
        )
        self.do(BOB, LockFunds(amount=doge(50), reference_type="auction", reference_id="a-2"))
        self.do(CAT, LockFunds(amount=doge(100), reference_type="auction", reference_id="a-2"))

    def _orders_are_settled(self) -> None:
        self.do(ANN, ReleaseEscrow(escrow_id=self.ids["order-1"], amount=doge(30.1)))
        self.do(ANN, RefundEscrow(escrow_id=self.ids["order-1"], amount=doge(5)))
        self.do(ANN, RefundEscrow(escrow_id=self.ids["order-2"]))
        self.do(BOB, DisputeEscrow(escrow_id=self.ids["order-3"], reason="broken"))
        self.do(BOB, ReleaseEscrow(escrow_id=self.ids["order-3"]))  # disputed
        self.do(
            BOB,
            ResolveDispute(
                escrow_id=self.ids["order-3"], to_seller=Share(doge(40)), to_buyer=Share(doge(20))
            ),
        )
        self.do(CAT, ReleaseEscrow(escrow_id=self.ids["order-4"]))

    def _money_goes(self) -> None:
        for number, user in enumerate((ANN, ANN, BOB, BOB, CAT, BOB), 1):
            self.ids[f"w-{number}"] = self.do(
                user, RequestWithdrawal(amount=doge(50), address=ELSEWHERE)
            )
        self.do(ANN, CancelWithdrawal(withdrawal_id=self.ids["w-2"]))
        self.do(DAN, RequestWithdrawal(amount=doge(50), address=ELSEWHERE))  # insufficient

    def _rules_change(self) -> None:
        for name, user in (("w-1", ANN), ("w-3", BOB), ("w-4", BOB)):
            self.do(user, ClaimWithdrawal(withdrawal_id=self.ids[name]))
        for name, user in (("w-1", ANN), ("w-3", BOB)):
            self.do(user, RecordBroadcast(withdrawal_id=self.ids[name], txid=txid(50)))
            self.do(user, ConfirmWithdrawal(withdrawal_id=self.ids[name], txid=txid(50)))
        self.do(ANN, UnconfirmWithdrawal(withdrawal_id=self.ids["w-1"], txid=txid(50)))
        self.do(BOB, FailWithdrawal(withdrawal_id=self.ids["w-4"], reason="conflict"))
        self.do(
            HOUSE,
            SetRules(
                escrow_fee_basis_points=100,
                withdrawal_fee=Share(doge(2)),
                withdrawal_minimum=doge(20),
                withdrawal_maximum=doge(5_000),
                deposit_minimum=Share(doge(2)),
                confirmations=(ConfirmationTier(exposure=Share(0), confirmations=6),),
            ),
        )
        self.do(HOUSE, RecordNetworkFee(txid=txid(50), amount=doge(0.02)))
        self.do(HOUSE, RecordNetworkFee(txid=txid(50), amount=doge(0.02), reverse=True))
        self.do(HOUSE, RecordNetworkFee(txid=txid(51), amount=doge(0.03)))
        self.do(HOUSE, MoveCustody(amount=doge(100), source="chain", target="cold"))
        self.do(HOUSE, WithdrawRevenue(amount=doge(1)))

    def _money_is_taken_back(self) -> None:
        self.ids["order-5"] = self.do(
            ANN, PayOrder(seller_id=CAT, order_id="o-5", amount=doge(200))
        )
        self.do(CAT, ReverseDeposit(txid=txid(3), vout=0, ordinal=1))
        self.do(BOB, FreezeWallet(reason="a look"))

    def _debts_are_paid(self) -> None:
        self.do(ANN, ReleaseEscrow(escrow_id=self.ids["order-5"], amount=doge(10)))
        self._deposit(CAT, 3, 300, ordinal=2)
        self.do(CAT, ReverseDeposit(txid=txid(3), vout=0, ordinal=2))
        self.do(BOB, UnfreezeWallet())
        self.do(DAN, AssignAddress(rotate=True))

    def _the_account_is_replaced(self) -> None:
        _, other = KEYRING.fingerprints
        self.do(HOUSE, RotateAccount(account_key=other))
        self.do(HOUSE, RotateAccount(account_key=other))  # already in force

    def _addresses_follow(self) -> None:
        self.do(DAN, AssignAddress())
        self._deposit(ANN, 5, 20)  # to an address of the former account

    def _nothing_is_understood(self) -> None:
        self.write(CommandTopic.SERVICES, ANN.encode(), b"{not json")
        self.write(CommandTopic.USERS, BOB.encode(), b"")
        self.do(ANN, Fund(amount=doge(1)), topic=CommandTopic.SERVICES)
        self.do(BOB, FreezeWallet(reason="a look"))
