"""The ledger's rules told a second time, as plainly as they can be: a model to test against.

It knows no postings and no balances of bids, escrow and pending: these are what its locks,
escrows and withdrawals add up to. Each method answers the code of a refusal, or does it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from schemas.amounts import KOINU_MAX
from schemas.rejections import Rejection


@dataclass
class User:
    available: int = 0
    owed: int = 0
    frozen_by_operator: bool = False

    @property
    def frozen(self) -> bool:
        return self.frozen_by_operator or self.owed > 0

    def credit(self, amount: int) -> None:
        repaid = min(self.owed, amount)
        self.owed -= repaid
        self.available += amount - repaid


@dataclass
class Sale:
    buyer: str
    seller: str
    order: str
    amount: int
    fee: int
    gross: int = 0
    refunded: int = 0
    disputed: bool = False

    @property
    def remaining(self) -> int:
        return self.amount - self.gross - self.refunded

    @property
    def fee_taken(self) -> int:
        return self.fee * self.gross // self.amount


@dataclass
class Payout:
    user: str
    amount: int
    fee: int
    status: str = "PENDING"
    txid: str | None = None

    @property
    def held(self) -> int:
        return (
            self.amount + self.fee if self.status in {"PENDING", "PROCESSING", "BROADCAST"} else 0
        )


@dataclass
class Receipt:
    user: str
    amount: int
    creditings: int = 0
    credited: bool = False


@dataclass
class Limits:
    basis_points: int
    fee: int
    minimum: int
    maximum: int
    deposit_minimum: int


@dataclass
class Reckoning:
    """All that the marketplace and the chain have done, and what follows from it."""

    limits: Limits
    users: dict[str, User]
    locks: dict[tuple[str, str], int] = field(default_factory=dict)
    sales: list[Sale] = field(default_factory=list)
    payouts: list[Payout] = field(default_factory=list)
    receipts: dict[str, Receipt] = field(default_factory=dict)
    miners: dict[str, tuple[int, int, bool]] = field(default_factory=dict)
    chain: int = 0
    cold: int = 0
    fees: int = 0
    capital: int = 0

    # What follows.

    def bids(self, user: str) -> int:
        return sum(amount for (owner, _), amount in self.locks.items() if owner == user)

    def escrow(self, user: str) -> int:
        return sum(sale.remaining for sale in self.sales if sale.buyer == user)

    def pending(self, user: str) -> int:
        return sum(payout.held for payout in self.payouts if payout.user == user)

    def balance(self, user: str) -> tuple[int, int, int, int]:
        available = self.users[user].available
        return available, self.bids(user), self.escrow(user), self.pending(user)

    def miners_paid(self) -> int:
        return sum(amount for amount, _, posted in self.miners.values() if posted)

    def overflows(self, user: str, amount: int) -> bool:
        return sum(self.balance(user)) + amount > KOINU_MAX

    # Money in.

    def see(self, user: str, txid: str, amount: int) -> Rejection | None:
        receipt = self.receipts.get(txid)
        if receipt is None:
            self.receipts[txid] = Receipt(user, amount)
            return None
        if (receipt.user, receipt.amount) != (user, amount):
            return Rejection.DEPOSIT_MISMATCH
        return Rejection.DEPOSIT_CREDITED if receipt.credited else None

    def credit(self, user: str, txid: str, amount: int, ordinal: int) -> Rejection | None:
        receipt = self.receipts.get(txid) or Receipt(user, amount)
        if (receipt.user, receipt.amount) != (user, amount):
            return Rejection.DEPOSIT_MISMATCH
        if receipt.credited:
            return Rejection.DEPOSIT_CREDITED
        if receipt.creditings == 0 and amount < self.limits.deposit_minimum:
            return Rejection.DEPOSIT_BELOW_MINIMUM
        if ordinal != receipt.creditings + 1:
            return Rejection.WRONG_ORDINAL
        if self.overflows(user, amount):
            return Rejection.BALANCE_OVERFLOW
        self.receipts[txid] = receipt
        receipt.credited, receipt.creditings = True, ordinal
        self.chain += amount
        self.users[user].credit(amount)
        return None

    def reverse(self, user: str, txid: str, ordinal: int) -> Rejection | None:
        receipt = self.receipts.get(txid)
        if receipt is None or receipt.user != user:
            return Rejection.DEPOSIT_UNKNOWN
        if not receipt.credited:
            return Rejection.DEPOSIT_NOT_CREDITED
        if ordinal != receipt.creditings:
            return Rejection.WRONG_ORDINAL
        who = self.users[user]
        reachable = who.available + sum(
            p.held for p in self.payouts if p.user == user and p.status == "PENDING"
        )
        if who.owed + max(0, receipt.amount - reachable) > KOINU_MAX:
            return Rejection.BALANCE_OVERFLOW
        # Payouts stand in the order in which they were requested.
        for payout in self.payouts:
            if who.available >= receipt.amount:
                break
            if payout.user == user and payout.status == "PENDING":
                who.credit(payout.held)
                payout.status = "FAILED"
        taken = min(who.available, receipt.amount)
        who.available -= taken
        who.owed += receipt.amount - taken
        receipt.credited = False
        self.chain -= receipt.amount
        return None

    # Bids and sales.

    def lock(self, user: str, reference: str, amount: int) -> Rejection | None:
        who = self.users[user]
        if who.frozen:
            return Rejection.WALLET_FROZEN
        if who.available < amount:
            return Rejection.INSUFFICIENT_FUNDS
        who.available -= amount
        self.locks[user, reference] = self.locks.get((user, reference), 0) + amount
        return None

    def unlock(self, user: str, reference: str, amount: int) -> Rejection | None:
        if self.locks.get((user, reference), 0) < amount:
            return Rejection.LOCK_INSUFFICIENT
        self.locks[user, reference] -= amount
        self.users[user].credit(amount)
        return None

    def pay(self, buyer: str, seller: str, order: str, amount: int) -> Rejection | None:
        who = self.users[buyer]
        if (fault := self._order_fault(buyer, seller, order)) is not None:
            return fault
        if who.frozen:
            return Rejection.WALLET_FROZEN
        if who.available < amount:
            return Rejection.INSUFFICIENT_FUNDS
        who.available -= amount
        self._sell(buyer, seller, order, amount)
        return None

    def convert(
        self, buyer: str, seller: str, order: str, amount: int, reference: str
    ) -> Rejection | None:
        if (fault := self._order_fault(buyer, seller, order)) is not None:
            return fault
        locked = self.locks.get((buyer, reference), 0)
        if locked < amount:
            return Rejection.LOCK_INSUFFICIENT
        if self.users[buyer].frozen:
            return Rejection.WALLET_FROZEN
        self.locks[buyer, reference] = 0
        self.users[buyer].credit(locked - amount)
        self._sell(buyer, seller, order, amount)
        return None

    def _order_fault(self, buyer: str, seller: str, order: str) -> Rejection | None:
        if any((sale.buyer, sale.order) == (buyer, order) for sale in self.sales):
            return Rejection.ESCROW_EXISTS
        return Rejection.SELF_DEALING if buyer == seller else None

    def _sell(self, buyer: str, seller: str, order: str, amount: int) -> None:
        fee = amount * self.limits.basis_points // 10_000
        self.sales.append(Sale(buyer, seller, order, amount, fee))

    def release(self, user: str, sale: Sale | None, amount: int | None) -> Rejection | None:
        fault = self._share_fault(user, sale, amount)
        if fault is not None or sale is None:
            return fault
        return self._give_seller(sale, sale.remaining if amount is None else amount)

    def refund(self, user: str, sale: Sale | None, amount: int | None) -> Rejection | None:
        fault = self._share_fault(user, sale, amount)
        if fault is not None or sale is None:
            return fault
        amount = sale.remaining if amount is None else amount
        sale.refunded += amount
        self.users[sale.buyer].credit(amount)
        return None

    def dispute(self, user: str, sale: Sale | None) -> Rejection | None:
        fault = self._share_fault(user, sale, None)
        if fault is None and sale is not None:
            sale.disputed = True
        return fault

    def resolve(
        self, user: str, sale: Sale | None, to_seller: int, to_buyer: int
    ) -> Rejection | None:
        if sale is None or sale.buyer != user:
            return Rejection.ESCROW_NOT_FOUND
        if sale.remaining == 0:
            return Rejection.ESCROW_CLOSED
        if not sale.disputed:
            return Rejection.ESCROW_NOT_DISPUTED
        if to_seller + to_buyer != sale.remaining:
            return Rejection.ESCROW_PARTS_MISMATCH
        fault = self._give_seller(sale, to_seller) if to_seller else None
        if fault is None:
            sale.refunded += to_buyer
            self.users[sale.buyer].credit(to_buyer)
        return fault

    def _share_fault(self, user: str, sale: Sale | None, amount: int | None) -> Rejection | None:
        if sale is None or sale.buyer != user:
            return Rejection.ESCROW_NOT_FOUND
        if sale.remaining == 0:
            return Rejection.ESCROW_CLOSED
        if sale.disputed:
            return Rejection.ESCROW_DISPUTED
        if amount is not None and amount > sale.remaining:
            return Rejection.ESCROW_INSUFFICIENT
        return None

    def _give_seller(self, sale: Sale, amount: int) -> Rejection | None:
        if self.overflows(sale.seller, amount):
            return Rejection.BALANCE_OVERFLOW
        before = sale.fee_taken
        sale.gross += amount
        fee = sale.fee_taken - before
        self.fees += fee
        self.users[sale.seller].credit(amount - fee)
        return None

    # Money out.

    def request(self, user: str, amount: int) -> Rejection | None:
        who = self.users[user]
        if amount < self.limits.minimum:
            return Rejection.BELOW_MINIMUM
        if amount > self.limits.maximum:
            return Rejection.ABOVE_MAXIMUM
        if who.frozen:
            return Rejection.WALLET_FROZEN
        if who.available < amount + self.limits.fee:
            return Rejection.INSUFFICIENT_FUNDS
        who.available -= amount + self.limits.fee
        self.payouts.append(Payout(user, amount, self.limits.fee))
        return None

    def step(self, user: str, payout: Payout | None, name: str, txid: str = "") -> Rejection | None:
        """One of cancel, claim, broadcast, confirm, unconfirm and fail."""
        if payout is None or payout.user != user:
            return Rejection.WITHDRAWAL_NOT_FOUND
        if (payout.status, name) not in PAYOUT_STEPS:
            return Rejection.WITHDRAWAL_WRONG_STATUS
        who = self.users[user]
        if name == "claim" and who.frozen:
            return Rejection.WALLET_FROZEN
        if name == "unconfirm":
            if txid != payout.txid:
                return Rejection.WITHDRAWAL_TXID_MISMATCH
            if self.overflows(user, payout.amount + payout.fee):
                return Rejection.BALANCE_OVERFLOW
        if name in {"cancel", "fail"}:
            who.credit(payout.held)
        payout.status = PAYOUT_STEPS[payout.status, name]
        if name in {"broadcast", "confirm"}:
            payout.txid = txid
        sign = {"confirm": 1, "unconfirm": -1}.get(name, 0)
        self.chain -= sign * payout.amount
        self.fees += sign * payout.fee
        return None

    # The house.

    def miner(self, txid: str, amount: int, ordinal: int, *, back: bool) -> Rejection | None:
        known, postings, posted = self.miners.get(txid, (amount, 0, False))
        if posted and not back:
            return Rejection.FEE_POSTED
        if back and not posted:
            return Rejection.FEE_NOT_POSTED
        if known != amount:
            return Rejection.FEE_MISMATCH
        if ordinal != (postings if back else postings + 1):
            return Rejection.WRONG_ORDINAL
        self.miners[txid] = (amount, ordinal, not back)
        self.chain += amount if back else -amount
        return None


PAYOUT_STEPS = {
    ("PENDING", "cancel"): "FAILED",
    ("PENDING", "claim"): "PROCESSING",
    ("PROCESSING", "broadcast"): "BROADCAST",
    ("BROADCAST", "broadcast"): "BROADCAST",
    ("BROADCAST", "confirm"): "CONFIRMED",
    ("CONFIRMED", "unconfirm"): "BROADCAST",
    ("PROCESSING", "fail"): "FAILED",
    ("BROADCAST", "fail"): "FAILED",
}
