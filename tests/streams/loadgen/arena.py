"""A wallet in memory behind three topics: decides records as the worker does, in any interleaving.

Each partition is taken in order, but which one goes on next is drawn, as between workers.
"""

from __future__ import annotations

import random
from collections import defaultdict, deque
from itertools import count
from typing import Final

import msgspec

from db.ledger.reads import First
from processors.books import BatchBooks
from processors.incoming import Record, read_batch
from processors.journal import Journal
from processors.telling import DEAD_LETTER_FRAME, EVENT_FRAME, Teller
from schemas.addresses import NETWORKS, encode_address
from schemas.amounts import KOINU_PER_DOGE
from schemas.events import CloudEvent
from schemas.ledger import HOUSE
from schemas.publications import DeadLetterNotice
from schemas.records import Rules, Tier, Wallet
from schemas.samples import BUYER, SELLER
from schemas.topics import CommandTopic
from streams.loadgen.pieces import Player
from streams.loadgen.plan import Layout

PARTITIONS: Final = 4
RULES: Final = Rules(
    version=1,
    network="regtest",
    account_key="0123456789abcdef",
    escrow_fee_basis_points=250,
    withdrawal_fee=KOINU_PER_DOGE,
    withdrawal_minimum=10 * KOINU_PER_DOGE,
    withdrawal_maximum=1_000_000 * KOINU_PER_DOGE,
    deposit_minimum=KOINU_PER_DOGE,
    confirmations=(Tier(0, 20),),
)

_event: Final = msgspec.json.Decoder(CloudEvent)
_letter: Final = msgspec.json.Decoder(DeadLetterNotice)


def _address(account_key: str, index: int) -> str:
    return encode_address(NETWORKS["regtest"].p2pkh, index.to_bytes(20, "big"))


class Arena:
    """The topics and the wallet; ``decide`` takes some records of some partition."""

    def __init__(self, players: list[Player], seed: int) -> None:
        users = [HOUSE, BUYER, SELLER, *(player.user_id for player in players)]
        self.books = BatchBooks(
            rules=RULES,
            wallets={user: Wallet(user_id=user) for user in users},
            next_indices={RULES.account_key: 0},
            derive=_address,
        )
        self.random = random.Random(seed)
        self._places = Layout(PARTITIONS)
        self._queues: defaultdict[tuple[int, int], deque[Record]] = defaultdict(deque)
        self._firsts: dict[tuple[str, int, str], First] = {}
        self._batches = count(1)
        self._time = 1_767_225_600_000

    def append(self, topic: CommandTopic, key: bytes, value: bytes) -> tuple[int, int, int]:
        """Put a record on its topic; its place."""
        place = self._places.place(topic, key)
        self._time += 1
        self._queues[place[:2]].append(Record(*place, self._time, key, value))
        return place

    def decide(self) -> list[CloudEvent | DeadLetterNotice]:
        """Decide up to fifty records of one partition; what is published of them."""
        waiting = sorted(place for place, queue in self._queues.items() if queue)
        if not waiting:
            return []
        queue = self._queues[self.random.choice(waiting)]
        batch = [queue.popleft() for _ in range(min(len(queue), self.random.randint(1, 50)))]
        journal, teller = Journal(self.books, self._firsts), Teller(next(self._batches))
        published: list[CloudEvent | DeadLetterNotice] = []
        for part in read_batch(batch):
            for frame in teller.tell(journal.decide(part, 1).decided).frames:
                if frame.kind == EVENT_FRAME:
                    published.append(_event.decode(frame.value))
                elif frame.kind == DEAD_LETTER_FRAME:
                    published.append(_letter.decode(frame.value))
        return published

    def decide_all(self) -> list[CloudEvent | DeadLetterNotice]:
        """Decide everything that stands on the topics."""
        published: list[CloudEvent | DeadLetterNotice] = []
        while more := self.decide():
            published += more
        return published
