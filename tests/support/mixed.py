"""A mixed load from a seed, for proofs that only ask that each command has one outcome."""

from __future__ import annotations

import random

from schemas.commands import AssignAddress, LockFunds, OpenWallet
from schemas.samples import WRECKS
from tests.support.books import ANN, BOB, CAT, doge
from tests.support.commands import Wire, wire


def load(seed: int = 1, size: int = 60) -> list[Wire]:
    """Commands of three users on two topics: good, bad, refused, sent twice, keys used again."""
    chance = random.Random(seed)
    wrecks = [w for w in WRECKS.values() if w.placed and w.value]
    records: list[Wire] = []
    for number in range(size):
        user = chance.choice((ANN, BOB, CAT))
        match chance.randrange(6):
            case 0:
                records.append(wire(OpenWallet(), user))
            case 1:
                records.append(wire(AssignAddress(rotate=chance.random() < 0.3), user))
            case 2 if records:
                records.append(chance.choice(records))
            case 3:
                wreck = chance.choice(wrecks)
                records.append(Wire(wreck.topic, wreck.key or b"", wreck.value or b""))
            case _:
                data = LockFunds(
                    amount=doge(number + 1), reference_type="auction", reference_id="7"
                )
                records.append(wire(data, user, key=f"bid-{number % 20}"))
    return records
