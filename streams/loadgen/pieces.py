"""The pieces of the game: users, what they have open, and the commands that are planned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, NamedTuple

from schemas.addresses import NETWORKS, encode_address
from schemas.amounts import KOINU_PER_DOGE
from schemas.commands import CommandType
from schemas.topics import CommandTopic

DOGE: Final = KOINU_PER_DOGE
#: What every user begins with, and the part of it that is for withdrawals alone.
FUNDING: Final = 1_000_000 * DOGE
RESERVE: Final = 100_000 * DOGE

ACCEPTED: Final = "accepted"
REPLAYED: Final = "replayed"


class Shares(NamedTuple):
    """How much of the traffic is not as it should be, each a share of 1."""

    duplicates: float = 0.0
    overdrafts: float = 0.0
    malformed: float = 0.0


@dataclass(slots=True)
class Player:
    """A user of the marketplace; ``free`` and ``reserve`` are what the plan may still spend."""

    number: int
    user_id: str
    key: bytes
    #: Where deposits are paid to: made up by ``players``, replaced by the one that was assigned.
    address: str
    free: int = FUNDING - RESERVE
    reserve: int = RESERVE


@dataclass(slots=True)
class Bid:
    """What one player has locked under one reference."""

    player: Player
    reference_id: str
    amount: int


@dataclass(slots=True)
class Order:
    """An escrow; ``id`` is told by whoever knows the place of the command that made it."""

    player: Player
    seller: Player
    remaining: int
    id: str = ""
    #: The command that should have made it was not accepted.
    refused: bool = False


@dataclass(slots=True)
class Payout:
    """A withdrawal."""

    player: Player
    id: str = ""
    refused: bool = False


Thing = Order | Payout


class Planned(NamedTuple):
    """A command to be: ``thing`` is what it makes, or what it is about and whose id it needs.

    ``origin`` numbers what makes a request unique: a duplicate has that of the command it repeats.
    """

    kind: CommandType
    topic: CommandTopic
    player: Player
    origin: int
    amount: int
    expected: str
    reference_id: str = ""
    thing: Thing | None = None
    makes: bool = False
    #: The part of a conversion's lock that becomes free, or of a dispute that the buyer gets.
    rest: int = 0
    #: Asks for all that remains, without naming the amount.
    whole: bool = False


class Wreckage(NamedTuple):
    """A record to be that is no command; ``expected`` is the dead letter's code."""

    topic: CommandTopic
    player: Player
    key: bytes
    value: bytes
    expected: str


def players(label: str, count: int, network: str = "regtest") -> list[Player]:
    """The users of a market: ids and addresses made of its label and their number."""
    version = NETWORKS[network].p2pkh
    made = []
    for number in range(count):
        digest = blake2b(f"{label}\0{number}".encode(), digest_size=36).digest()
        user_id = _uuid4(digest[:16])
        address = encode_address(version, digest[16:])
        made.append(Player(number, user_id, user_id.encode(), address))
    return made


def _uuid4(digest: bytes) -> str:
    text = digest.hex()
    variant = "89ab"[int(text[16], 16) % 4]
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{variant}{text[17:20]}-{text[20:]}"


def opening(players: list[Player]) -> Iterator[Planned]:
    """Open each wallet and ask for its address."""
    for player in players:
        for kind in (CommandType.OPEN_WALLET, CommandType.ASSIGN_ADDRESS):
            yield Planned(kind, CommandTopic.USERS, player, player.number, 0, ACCEPTED)


def funding(players: list[Player]) -> Iterator[Planned]:
    """Pay in what each user begins with; the addresses must be known by now."""
    for player in players:
        yield Planned(
            CommandType.PROCESS_DEPOSIT,
            CommandTopic.TREASURY,
            player,
            player.number,
            FUNDING,
            ACCEPTED,
        )
