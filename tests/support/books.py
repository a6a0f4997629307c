"""A ledger in memory: decides commands and applies them as the worker does, without a database."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from processors.books import BatchBooks
from processors.ledger.decide import decide
from processors.ledger.model import Acceptance, Decision, Refusal, Request
from processors.ledger.postings import EntryRow, post
from schemas.addresses import NETWORKS, encode_address
from schemas.amounts import KOINU_PER_DOGE, Koinu
from schemas.commands import (
    AssignAddress,
    ClaimWithdrawal,
    ConfirmWithdrawal,
    FreezeWallet,
    LockFunds,
    PayOrder,
    ProcessDeposit,
    RecordBroadcast,
    RequestWithdrawal,
    ReverseDeposit,
)
from schemas.events import RESULT_OF
from schemas.ids import Place, number_of, text_of
from schemas.ledger import HOUSE, Account
from schemas.records import Deposit, Escrow, Rules, Tier, Wallet, Withdrawal
from schemas.rejections import Rejection

ANN: Final = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
BOB: Final = "bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb"
CAT: Final = "cccccccc-cccc-4ccc-8ccc-cccccccccccc"
USERS: Final = (ANN, BOB, CAT)

BLOCK: Final = "b" * 64
START: Final = 1_700_000_000_000


def doge(amount: float) -> Koinu:
    """DOGE as koinu; what eight decimals hold of a float is exact enough here."""
    return Koinu(round(amount * KOINU_PER_DOGE))


RULES: Final = Rules(
    version=1,
    network="regtest",
    account_key="0123456789abcdef",
    escrow_fee_basis_points=250,
    withdrawal_fee=doge(1),
    withdrawal_minimum=doge(10),
    withdrawal_maximum=doge(1000),
    deposit_minimum=doge(1),
    confirmations=(Tier(0, 20), Tier(doge(100_000), 40)),
)


def address_of(number: int, network: str = "regtest") -> str:
    """A valid address, another for each number."""
    return encode_address(NETWORKS[network].p2pkh, number.to_bytes(20, "big"))


def derived(account_key: str, index: int) -> str:
    """As a keyring of any accounts: the address of ``RULES``'s account is ``address_of`` it."""
    account = int(account_key, 16) ^ int(RULES.account_key, 16)
    return address_of((account << 64) + index)


#: An address that is nobody's deposit address.
ELSEWHERE: Final = address_of(2**100)


def txid_of(number: int) -> str:
    """A transaction id, another for each number."""
    return f"{number:064x}"


#: That of ``RULES``'s account, and of two to rotate to; nothing was derived yet.
COUNTERS: Final = dict.fromkeys((RULES.account_key, "00000000000000aa", "00000000000000bb"), 0)


class Ledger:
    """Wallets of three users and the house, and all entries that were ever made."""

    def __init__(self, rules: Rules = RULES) -> None:
        self.books = BatchBooks(
            rules=rules,
            wallets={user: Wallet(user_id=user) for user in (*USERS, HOUSE)},
            next_indices=COUNTERS,
            derive=derived,
        )
        self.entries: list[EntryRow] = []
        self.time = START
        self._offset = 0
        self._transactions = 0

    # Deciding and applying.

    def do(self, data: msgspec.Struct, user: str = ANN) -> Decision:
        """Decide a command, and apply it if it is accepted."""
        self._offset += 1
        self.time += 1000
        request = Request(text_of(number_of(Place(0, 1, 0, self._offset))), user, data, self.time)
        decision = self.decide(request)
        if isinstance(decision, Acceptance):
            self._apply(user, decision)
        return decision

    def decide(self, request: Request) -> Decision:
        """What the command comes to, on the books as they are."""
        return decide(request, self.books)

    def accept(self, data: msgspec.Struct, user: str = ANN) -> Acceptance:
        """Do what must be accepted."""
        decision = self.do(data, user)
        assert isinstance(decision, Acceptance), decision
        return decision

    def refuse(self, data: msgspec.Struct, user: str = ANN) -> Rejection:
        """Do what must be refused, and change nothing."""
        before = self.state()
        decision = self.do(data, user)
        assert isinstance(decision, Refusal), decision
        assert self.state() == before
        return decision.code

    def _apply(self, user: str, acceptance: Acceptance) -> None:
        self.entries += post(user, acceptance.postings, self.books.wallet)
        if acceptance.freeze is not None:
            self.wallet(user).frozen_by_operator = acceptance.freeze
        for record in acceptance.records:
            self.books.put(record)
        for notice in acceptance.notices:
            assert type(notice.result) is RESULT_OF[notice.event]
            wallet = self.wallet(notice.user_id)
            wallet.version += 1
            wallet.opened_at = wallet.opened_at or self.time

    def state(self) -> dict[str, Any]:
        """All that the ledger knows, as a value that later commands do not change."""
        known = {
            name: value.copy() if isinstance(value, dict | list) else value
            for name, value in vars(self.books).items()
        }
        known["wallets"] = {
            user: msgspec.structs.astuple(wallet) for user, wallet in self.books.wallets.items()
        }
        return {**known, "entries": list(self.entries)}

    # Looking.

    def wallet(self, user: str = ANN) -> Wallet:
        return self.books.wallet(user)

    def balance(self, user: str = ANN) -> tuple[int, int, int, int]:
        """available, bids, escrow and pending, in koinu."""
        wallet = self.wallet(user)
        return wallet.available, wallet.bids, wallet.escrow, wallet.pending

    def locked(self, reference_id: str = "7", user: str = ANN) -> int:
        lock = self.books.lock(user, "auction", reference_id)
        return 0 if lock is None else lock.amount

    def escrow(self, escrow_id: str) -> Escrow:
        escrow = self.books.escrow(escrow_id)
        assert escrow is not None
        return escrow

    def withdrawal(self, withdrawal_id: str) -> Withdrawal:
        withdrawal = self.books.withdrawal(withdrawal_id)
        assert withdrawal is not None
        return withdrawal

    def deposit(self, txid: str, vout: int = 0) -> Deposit:
        deposit = self.books.deposit(txid, vout)
        assert deposit is not None
        return deposit

    def owed_to_house(self, account: Account) -> int:
        """Debits less credits of a house account."""
        return sum(row[3] - row[4] for row in self.entries if row[:2] == (HOUSE, account))

    # The ways to a state, by commands alone.

    def address(self, user: str = ANN) -> str:
        self.accept(AssignAddress(), user)
        active = self.books.active_address(user)
        assert active is not None
        return active.address

    def fund(self, amount: float, user: str = ANN) -> str:
        """Credit a deposit; its transaction."""
        self._transactions += 1
        txid = txid_of(self._transactions)
        self.accept(
            ProcessDeposit(
                txid=txid,
                vout=0,
                address=self.address(user),
                amount=doge(amount),
                block_hash=BLOCK,
                height=100,
                ordinal=1,
            ),
            user,
        )
        return txid

    def lock(self, amount: float, reference_id: str = "7", user: str = ANN) -> None:
        self.accept(
            LockFunds(amount=doge(amount), reference_type="auction", reference_id=reference_id),
            user,
        )

    def pay(self, amount: float, order_id: str = "o1", seller: str = BOB, user: str = ANN) -> str:
        """Pay an order; the escrow's id."""
        self.accept(PayOrder(amount=doge(amount), seller_id=seller, order_id=order_id), user)
        escrow = self.books.escrow_of_order(user, order_id)
        assert escrow is not None
        return escrow.id

    def request(self, amount: float, user: str = ANN) -> str:
        """Request a withdrawal; its id."""
        decision = self.accept(RequestWithdrawal(amount=doge(amount), address=ELSEWHERE), user)
        (record,) = decision.records
        assert isinstance(record, Withdrawal)
        return record.id

    def claim(self, amount: float, user: str = ANN) -> str:
        withdrawal_id = self.request(amount, user)
        self.accept(ClaimWithdrawal(withdrawal_id=withdrawal_id), user)
        return withdrawal_id

    def broadcast(self, amount: float, user: str = ANN, txid: str = txid_of(900)) -> str:
        withdrawal_id = self.claim(amount, user)
        self.accept(RecordBroadcast(withdrawal_id=withdrawal_id, txid=txid), user)
        return withdrawal_id

    def confirm(self, amount: float, user: str = ANN, txid: str = txid_of(900)) -> str:
        withdrawal_id = self.broadcast(amount, user, txid)
        self.accept(ConfirmWithdrawal(withdrawal_id=withdrawal_id, txid=txid), user)
        return withdrawal_id

    def freeze(self, user: str = ANN) -> None:
        self.accept(FreezeWallet(reason="asked by the court"), user)

    def owe(self, amount: float, user: str = ANN) -> None:
        """Leave a user without money who owes that much: spent elsewhere, then orphaned."""
        txid = self.fund(amount, user)
        held = doge(amount)
        self.lock(amount, "spent", user)
        self.accept(ReverseDeposit(txid=txid, vout=0, ordinal=1), user)
        assert self.wallet(user).shortfall == held


def entries_of(acceptance: Acceptance) -> list[tuple[str, str, str, int]]:
    """The postings as the design's table shows them: type, debit, credit, koinu."""
    return [
        (
            posting.entry_type.value,
            posting.debit.account.value,
            posting.credit.account.value,
            posting.amount,
        )
        for posting in acceptance.postings
    ]


def references_of(acceptance: Acceptance) -> set[tuple[str | None, str | None]]:
    """What the postings are entered under."""
    return {(posting.reference_type, posting.reference_id) for posting in acceptance.postings}
