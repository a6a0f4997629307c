"""What is thrown for a step of a drawn history: who acts, how, and on how much."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from hypothesis import strategies as st

from schemas.amounts import KOINU_MAX
from tests.support.books import USERS

SLIPS: Final = (0, 0, 0, 0, 0, 1, -1)


class Dice(NamedTuple):
    """What is thrown for one step; an action uses what it needs of it."""

    user: str
    #: Which of those there are; nought and one are for strangers and for what is not there.
    place: int
    #: Eighths of what is there; nine are more than there is.
    share: int
    #: What is added to the right number or amount: mostly nothing.
    slip: int
    reference: str
    #: Mostly sums that meet, sometimes one that fills a wallet to the brim.
    amount: int


dice_thrown = st.builds(
    Dice,
    user=st.sampled_from(USERS),
    place=st.integers(0, 40),
    share=st.integers(0, 9),
    slip=st.sampled_from(SLIPS),
    reference=st.sampled_from(("a", "b")),
    amount=st.integers(0, 49).flatmap(
        lambda chance: st.integers(1, 6000) if chance else st.integers(KOINU_MAX - 6000, KOINU_MAX)
    ),
)

#: What the treasury, the chain and the operators do, and how often each comes up.
TREASURY: Final = {
    "credit": 4,
    "detect": 1,
    "credit_again": 2,
    "reverse": 3,
    "pay_out": 8,
    "miner": 1,
    "transfer": 1,
    "freeze": 2,
    "set_rules": 1,
    "rotate_account": 1,
}
#: What users and the marketplace do: more often those that others build on.
MARKET: Final = {
    "lock": 4,
    "unlock": 2,
    "pay": 4,
    "convert": 3,
    "release": 4,
    "refund": 2,
    "dispute": 1,
    "resolve": 2,
    "request": 3,
    "assign_address": 1,
}


def actions_of(weights: Mapping[str, int]) -> st.SearchStrategy[str]:
    """One of the actions, as often as its weight says."""
    return st.sampled_from([name for name, weight in weights.items() for _ in range(weight)])


def part_of(whole: int, share: int) -> int:
    """A positive part of what is there, all of it, or a little more."""
    return whole + 1 if share > 8 else max(1, whole * share // 8)
