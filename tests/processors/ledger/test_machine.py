"""Whole histories, drawn by Hypothesis: the ledger does what the reckoning says, step by step.

After every step money in = money out, entries explain every balance, and a refusal has changed
nothing. A failure prints its shortest history, and the seed to run it again.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any, Final

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from processors.ledger.model import Acceptance, Refusal
from schemas.amounts import Koinu, Share
from schemas.commands import (
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
from schemas.ledger import HOUSE, HOUSE_ACCOUNTS, USER_ACCOUNTS, Account
from schemas.records import Escrow, Tier, Withdrawal
from schemas.rejections import Rejection
from tests.processors.ledger.dice import MARKET, TREASURY, Dice, actions_of, dice_thrown, part_of
from tests.processors.ledger.reckoning import PAYOUT_STEPS, Limits, Reckoning, Sale, User
from tests.support.books import BLOCK, ELSEWHERE, RULES, USERS, txid_of
from tests.support.strict import StrictLedger

UNKNOWN: Final = "00000000-0000-8000-8000-000000000000"
#: Small sums, so that they meet: fees of a few koinu, odd enough to be rounded.
LIMITS: Final = Limits(basis_points=777, fee=3, minimum=10, maximum=5000, deposit_minimum=5)

STEPS: Final = ("cancel", "claim", "broadcast", "confirm", "unconfirm", "fail")
FORWARD: Final = {
    "PENDING": "claim",
    "PROCESSING": "broadcast",
    "BROADCAST": "confirm",
    "CONFIRMED": "unconfirm",
}
#: To rotate to, there and back.
ACCOUNTS: Final = (RULES.account_key, "00000000000000aa", "00000000000000bb")


class Histories(RuleBasedStateMachine):
    """Draws commands, right ones and wrong ones, and holds the ledger against the reckoning."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = StrictLedger(
            msgspec.structs.replace(
                RULES,
                escrow_fee_basis_points=LIMITS.basis_points,
                withdrawal_fee=LIMITS.fee,
                withdrawal_minimum=LIMITS.minimum,
                withdrawal_maximum=LIMITS.maximum,
                deposit_minimum=LIMITS.deposit_minimum,
            )
        )
        self.model = Reckoning(replace(LIMITS), {user: User() for user in USERS})
        self.sale_ids: list[str] = []
        self.payout_ids: list[str] = []
        #: Where each user is paid, and what each is shown: not the same once it was rotated.
        self.addresses: dict[str, str] = {}
        self.shown: dict[str, str] = {}

    @initialize(amount=st.sampled_from((0, 100, 3000, 3000)))
    def begin(self, amount: int) -> None:
        self.addresses = {user: self.ledger.address(user) for user in USERS}
        self.shown = dict(self.addresses)
        for user in USERS:
            if amount:
                self._credit(user, txid_of(len(self.model.receipts)), amount, 1)

    # Two rules: with a single one the library trips over its own choice of rules in long runs.
    @rule(action=actions_of(TREASURY), dice=dice_thrown)
    def the_treasury_acts(self, action: str, dice: Dice) -> None:
        getattr(self, action)(dice)

    @rule(action=actions_of(MARKET), dice=dice_thrown)
    def the_market_acts(self, action: str, dice: Dice) -> None:
        getattr(self, action)(dice)

    def agree(self, data: Data, user: str, expected: Rejection | None) -> None:
        """The ledger answers as the reckoning did; a refusal has changed nothing."""
        before = self.ledger.state()
        decision = self.ledger.do(data, user)
        if isinstance(decision, Refusal):
            assert decision.code is expected
            assert self.ledger.state() == before
        else:
            assert expected is None, f"{expected} expected of {data}"
            self._name(decision)

    def _name(self, acceptance: Acceptance) -> None:
        for record in acceptance.records:
            if isinstance(record, Escrow) and record.id not in self.sale_ids:
                self.sale_ids.append(record.id)
            elif isinstance(record, Withdrawal) and record.id not in self.payout_ids:
                self.payout_ids.append(record.id)

    # Money in.

    def detect(self, dice: Dice) -> None:
        txid = txid_of(len(self.model.receipts))
        self._detect(dice.user, txid, dice.amount)

    def credit(self, dice: Dice) -> None:
        self._credit(dice.user, txid_of(len(self.model.receipts)), dice.amount, 1)

    def credit_again(self, dice: Dice) -> None:
        if not self.model.receipts:
            return
        txid = txid_of(dice.place % len(self.model.receipts))
        receipt = self.model.receipts[txid]
        amount = max(1, receipt.amount - (dice.share == 9))
        if dice.share < 4:
            self._detect(receipt.user, txid, amount)
        self._credit(receipt.user, txid, amount, max(1, receipt.creditings + 1 + dice.slip))

    def reverse(self, dice: Dice) -> None:
        known = self.model.receipts
        credited = [txid for txid, receipt in known.items() if receipt.credited]
        txids = credited if credited and dice.place > 9 else [*known, txid_of(999)]
        txid = txids[dice.place % len(txids)]
        receipt = known.get(txid)
        owner = dice.user if receipt is None or dice.place == 10 else receipt.user
        ordinal = max(1, dice.slip + (1 if receipt is None else receipt.creditings))
        expected = self.model.reverse(owner, txid, ordinal)
        self.agree(ReverseDeposit(txid=txid, vout=0, ordinal=ordinal), owner, expected)

    def _detect(self, user: str, txid: str, amount: int) -> None:
        facts = self._deposit(user, txid, amount)
        self.agree(DetectDeposit(**facts), user, self.model.see(user, txid, amount))

    def _credit(self, user: str, txid: str, amount: int, ordinal: int) -> None:
        facts = self._deposit(user, txid, amount)
        expected = self.model.credit(user, txid, amount, ordinal)
        self.agree(ProcessDeposit(**facts, ordinal=ordinal), user, expected)

    def _deposit(self, user: str, txid: str, amount: int) -> dict[str, Any]:
        return {
            "txid": txid,
            "vout": 0,
            "address": self.addresses[user],
            "amount": Koinu(amount),
            "block_hash": BLOCK,
            "height": 1,
        }

    # Bids and sales.

    def lock(self, dice: Dice) -> None:
        amount = part_of(self.model.users[dice.user].available, dice.share)
        expected = self.model.lock(dice.user, dice.reference, amount)
        data = LockFunds(
            amount=Koinu(amount), reference_type="auction", reference_id=dice.reference
        )
        self.agree(data, dice.user, expected)

    def unlock(self, dice: Dice) -> None:
        amount = part_of(self.model.locks.get((dice.user, dice.reference), 0), dice.share)
        expected = self.model.unlock(dice.user, dice.reference, amount)
        data = UnlockFunds(
            amount=Koinu(amount), reference_type="auction", reference_id=dice.reference
        )
        self.agree(data, dice.user, expected)

    def _order(self, dice: Dice) -> tuple[str, str]:
        """Seller and order: now and then oneself, or an order that is paid already."""
        others = [user for user in USERS if user != dice.user]
        seller = dice.user if dice.place == 1 else others[dice.place % 2]
        return seller, f"o{0 if dice.place == 0 else len(self.model.sales)}"

    def pay(self, dice: Dice) -> None:
        seller, order = self._order(dice)
        amount = part_of(self.model.users[dice.user].available, dice.share)
        expected = self.model.pay(dice.user, seller, order, amount)
        data = PayOrder(amount=Koinu(amount), seller_id=seller, order_id=order)
        self.agree(data, dice.user, expected)

    def convert(self, dice: Dice) -> None:
        seller, order = self._order(dice)
        amount = part_of(self.model.locks.get((dice.user, dice.reference), 0), dice.share)
        expected = self.model.convert(dice.user, seller, order, amount, dice.reference)
        data = ConvertToEscrow(
            amount=Koinu(amount),
            seller_id=seller,
            order_id=order,
            reference_type="auction",
            reference_id=dice.reference,
        )
        self.agree(data, dice.user, expected)

    def _sale(self, dice: Dice) -> tuple[str, Sale | None, str, int]:
        """An escrow's id, the sale, who speaks of it, and what remains: open ones mostly."""
        if dice.place == 0 or not self.sale_ids:
            return UNKNOWN, None, dice.user, 0
        numbers = range(len(self.sale_ids))
        still_open = [number for number in numbers if self.model.sales[number].remaining]
        chosen = still_open if still_open and dice.place > 5 else numbers
        number = chosen[dice.place % len(chosen)]
        sale = self.model.sales[number]
        buyer = dice.user if dice.place == 1 else sale.buyer
        return self.sale_ids[number], sale, buyer, sale.remaining

    def release(self, dice: Dice) -> None:
        escrow_id, sale, buyer, remaining = self._sale(dice)
        amount = None if dice.slip < 0 else Koinu(part_of(remaining, dice.share))
        expected = self.model.release(buyer, sale, amount)
        self.agree(ReleaseEscrow(escrow_id=escrow_id, amount=amount), buyer, expected)

    def refund(self, dice: Dice) -> None:
        escrow_id, sale, buyer, remaining = self._sale(dice)
        amount = None if dice.slip < 0 else Koinu(part_of(remaining, dice.share))
        expected = self.model.refund(buyer, sale, amount)
        self.agree(RefundEscrow(escrow_id=escrow_id, amount=amount), buyer, expected)

    def dispute(self, dice: Dice) -> None:
        escrow_id, sale, buyer, _ = self._sale(dice)
        expected = self.model.dispute(buyer, sale)
        self.agree(DisputeEscrow(escrow_id=escrow_id, reason="late"), buyer, expected)

    def resolve(self, dice: Dice) -> None:
        escrow_id, sale, buyer, remaining = self._sale(dice)
        to_seller = min(remaining, remaining * dice.share // 8)
        to_buyer = max(0, remaining - to_seller + dice.slip)
        expected = self.model.resolve(buyer, sale, to_seller, to_buyer)
        data = ResolveDispute(
            escrow_id=escrow_id, to_seller=Share(to_seller), to_buyer=Share(to_buyer)
        )
        self.agree(data, buyer, expected)

    # Money out.

    def request(self, dice: Dice) -> None:
        spare = max(0, self.model.users[dice.user].available - self.model.limits.fee)
        amount = part_of(spare, dice.share)
        expected = self.model.request(dice.user, amount)
        data = RequestWithdrawal(amount=Koinu(amount), address=ELSEWHERE)
        self.agree(data, dice.user, expected)

    def pay_out(self, dice: Dice) -> None:
        payout_id, payout, owner = UNKNOWN, None, dice.user
        if dice.place and self.payout_ids:
            number = dice.place % len(self.payout_ids)
            payout_id, payout = self.payout_ids[number], self.model.payouts[number]
            owner = dice.user if dice.place == 1 else payout.user
        status = "" if payout is None else payout.status
        right = [name for known, name in PAYOUT_STEPS if known == status]
        name = STEPS[dice.place % len(STEPS)]
        if dice.share > 4:
            name = FORWARD.get(status, name)
        elif dice.share > 1 and right:
            name = right[dice.place % len(right)]
        txid = txid_of(500 + dice.slip)
        expected = self.model.step(owner, payout, name, txid)
        self.agree(_payout_command(name, payout_id, txid), owner, expected)

    # The house and its operators.

    def miner(self, dice: Dice) -> None:
        txid = txid_of(dice.place % 3)
        amount, postings, posted = self.model.miners.get(txid, (5, 0, False))
        amount += dice.share == 9
        back = posted is (dice.share < 7)
        ordinal = max(1, postings + (0 if posted else 1) + dice.slip)
        expected = self.model.miner(txid, amount, ordinal, back=back)
        data = RecordNetworkFee(txid=txid, amount=Koinu(amount), ordinal=ordinal, reverse=back)
        self.agree(data, HOUSE, expected)

    def transfer(self, dice: Dice) -> None:
        model, amount, koinu = self.model, dice.amount, Koinu(dice.amount)
        data: Data
        match dice.place % 4:
            case 0:
                model.chain, model.cold = model.chain - amount, model.cold + amount
                data = MoveCustody(amount=koinu, source="chain", target="cold")
            case 1:
                model.chain, model.cold = model.chain + amount, model.cold - amount
                data = MoveCustody(amount=koinu, source="cold", target="chain")
            case 2:
                model.chain, model.capital = model.chain + amount, model.capital + amount
                data = Fund(amount=koinu)
            case _:
                model.chain, model.fees = model.chain - amount, model.fees - amount
                data = WithdrawRevenue(amount=koinu)
        self.agree(data, HOUSE, None)

    def freeze(self, dice: Dice) -> None:
        who = self.model.users[dice.user]
        if dice.share < 3:
            who.frozen_by_operator = True
            self.agree(FreezeWallet(reason="asked"), dice.user, None)
            return
        expected = None if who.frozen_by_operator else Rejection.NOT_FROZEN
        who.frozen_by_operator = False
        self.agree(UnfreezeWallet(), dice.user, expected)

    def assign_address(self, dice: Dice) -> None:
        books, rotate = self.ledger.books, dice.share > 4
        before = books.active_address(dice.user)
        self.agree(OpenWallet(), dice.user, None)
        self.agree(AssignAddress(rotate=rotate), dice.user, None)
        active = books.active_address(dice.user)
        assert before is not None and active is not None
        other = before.account_key != active.account_key == books.rules.account_key
        assert (active.address == self.shown[dice.user]) is not (rotate or other)
        self.shown[dice.user] = active.address

    def set_rules(self, dice: Dice) -> None:
        limits = self.model.limits
        limits.basis_points, limits.fee = dice.amount % 10_001, dice.place
        limits.minimum, limits.deposit_minimum = 1 + dice.share * 4, dice.share * 50
        data = SetRules(
            escrow_fee_basis_points=limits.basis_points,
            withdrawal_fee=Share(limits.fee),
            withdrawal_minimum=Koinu(limits.minimum),
            withdrawal_maximum=Koinu(limits.maximum),
            deposit_minimum=Share(limits.deposit_minimum),
            confirmations=(ConfirmationTier(exposure=Share(0), confirmations=6),),
        )
        self.agree(data, HOUSE, None)
        assert self.ledger.books.rules.confirmations == (Tier(0, 6),)

    def rotate_account(self, dice: Dice) -> None:
        account_key = ACCOUNTS[dice.place % len(ACCOUNTS)]
        same = account_key == self.ledger.books.rules.account_key
        expected = Rejection.ACCOUNT_IN_FORCE if same else None
        self.agree(RotateAccount(account_key=account_key), HOUSE, expected)

    # What must hold after every step.

    @invariant()
    def balances_are_as_reckoned(self) -> None:
        for user, who in self.model.users.items():
            wallet = self.ledger.wallet(user)
            assert self.ledger.balance(user) == self.model.balance(user)
            assert (wallet.shortfall, wallet.frozen) == (who.owed, who.frozen)

    @invariant()
    def money_in_is_money_out(self) -> None:
        totals = {account: self.ledger.owed_to_house(account) for account in HOUSE_ACCOUNTS}
        model = self.model
        assert totals == {
            Account.CHAIN: model.chain,
            Account.COLD: model.cold,
            Account.FEES: -model.fees,
            Account.NETWORK_FEES: model.miners_paid(),
            Account.SHORTFALL: sum(user.owed for user in model.users.values()),
            Account.CAPITAL: -model.capital,
            Account.SUSPENSE: 0,
        }
        assert sum(totals.values()) == sum(sum(model.balance(user)) for user in USERS)

    @invariant()
    def entries_explain_every_balance(self) -> None:
        explained: Counter[tuple[str, str]] = Counter()
        for owner, account, _, debit, credit, balance, *_ in self.ledger.entries:
            if owner != HOUSE:
                explained[owner, account] += credit - debit
                assert balance == explained[owner, account] >= 0
        for user in USERS:
            accounts = zip(USER_ACCOUNTS, self.ledger.balance(user), strict=True)
            assert all(explained[user, account] == amount for account, amount in accounts)


def _payout_command(step: str, withdrawal_id: str, txid: str) -> Data:
    match step:
        case "cancel":
            return CancelWithdrawal(withdrawal_id=withdrawal_id)
        case "claim":
            return ClaimWithdrawal(withdrawal_id=withdrawal_id)
        case "broadcast":
            return RecordBroadcast(withdrawal_id=withdrawal_id, txid=txid)
        case "confirm":
            return ConfirmWithdrawal(withdrawal_id=withdrawal_id, txid=txid)
        case "unconfirm":
            return UnconfirmWithdrawal(withdrawal_id=withdrawal_id, txid=txid)
        case _:
            return FailWithdrawal(withdrawal_id=withdrawal_id, reason="conflicted")


COMMON: Final = settings(
    deadline=None,
    stateful_step_count=60,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

TestHistories = Histories.TestCase
TestHistories.settings = settings(COMMON, max_examples=150)


@pytest.mark.proof
def test_many_histories() -> None:
    run_state_machine_as_test(Histories, settings=settings(COMMON, max_examples=3000))
