"""Turns a market into records, and lays them out beforehand on topics that nobody else writes.

The id of an escrow is its command's place in the log. On topics of our own a producer that is not
transactional fills each partition from its end on without gaps, in the order in which it is given
the records; so every place is known before the first record is sent, and a whole marketplace,
releases of escrows included, can be made in advance.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Final, NamedTuple

from schemas.addresses import NETWORKS, encode_address
from schemas.amounts import Koinu, Share
from schemas.commands import (
    AssignAddress,
    CancelWithdrawal,
    ClaimWithdrawal,
    CommandType,
    ConfirmWithdrawal,
    ConvertToEscrow,
    Data,
    DisputeEscrow,
    FailWithdrawal,
    LockFunds,
    OpenWallet,
    PayOrder,
    ProcessDeposit,
    RecordBroadcast,
    RefundEscrow,
    ReleaseEscrow,
    RequestWithdrawal,
    ResolveDispute,
    UnlockFunds,
)
from schemas.envelope import encode_command
from schemas.ids import command_number, slice_base, text_of
from schemas.topics import CommandTopic
from streams.kafka.config import partition_of
from streams.loadgen.market import Market
from streams.loadgen.pieces import (
    ACCEPTED,
    Order,
    Payout,
    Planned,
    Shares,
    Wreckage,
    funding,
    players,
)

ISSUER: Final = "loadgen"
_REFERENCE: Final = "auction"
#: A plan has no clock.
_ISSUED_AT: Final = datetime(2026, 1, 1, tzinfo=UTC)
_BLOCK_HASH: Final = "b1" * 32


class PlannedCommand(NamedTuple):
    """A record to be sent; ``expected`` is its outcome: accepted, replayed, or a rejection."""

    topic: CommandTopic
    user_id: str
    key: bytes
    value: bytes
    expected: str


class Layout:
    """Predicts the place of each record, and so the ids; ``ends`` is where partitions begin.

    ``ends`` maps (topic code, partition) to the offset of the next record, 0 where it is left out.
    """

    def __init__(
        self,
        partitions: int,
        *,
        generation: int = 1,
        ends: Mapping[tuple[int, int], int] | None = None,
    ) -> None:
        self._partitions = partitions
        self._bases = {
            (topic.value, partition): slice_base(topic, generation, partition)
            for topic in CommandTopic
            for partition in range(partitions)
        }
        #: The next offset of each partition.
        self.ends = dict.fromkeys(self._bases, 0) | dict(ends or {})
        self._partition_of: dict[bytes, int] = {}

    def place(self, topic: CommandTopic, key: bytes) -> tuple[int, int, int]:
        """Take the next place of the key's partition: topic code, partition, offset."""
        partition = self._partition_of.get(key)
        if partition is None:
            partition = partition_of(key, self._partitions)
            self._partition_of[key] = partition
        code = topic.value
        offset = self.ends[code, partition]
        self.ends[code, partition] = offset + 1
        return code, partition, offset

    def id_at(self, place: tuple[int, int, int]) -> str:
        """The id of the command at a place."""
        topic, partition, offset = place
        return text_of(command_number(self._bases[topic, partition], offset))


class Script:
    """A whole marketplace as records, made in advance; the same arguments give the same bytes.

    The users' deposit addresses are made up, since which one is assigned depends on the order
    between partitions: put ``players``' into ``deposit_addresses`` before the records are applied.
    Send ``funding`` and have it applied before ``marketplace`` is: the topics do not wait for
    each other.
    """

    def __init__(
        self,
        seed: int,
        users: int,
        layout: Layout,
        shares: Shares = Shares(),  # noqa: B008 - a value, never changed
    ) -> None:
        self.label = f"script-{seed}"
        self.players = players(self.label, users)
        self._layout = layout
        self._writer = Writer(self.label)
        self._market = Market(seed, self.players, shares)

    def funding(self) -> Iterator[PlannedCommand]:
        """One deposit a user; each opens its wallet."""
        for planned in funding(self.players):
            yield self._lay(planned)

    def marketplace(self) -> Iterator[PlannedCommand]:
        """The mix, endless; without shares of anything else, each command is accepted."""
        for step in self._market:
            if isinstance(step, Wreckage):
                self._layout.place(step.topic, step.key)
                yield PlannedCommand(
                    step.topic, step.player.user_id, step.key, step.value, step.expected
                )
            else:
                yield self._lay(step)

    def _lay(self, planned: Planned) -> PlannedCommand:
        player = planned.player
        place = self._layout.place(planned.topic, player.key)
        if planned.makes and planned.thing is not None and planned.expected is ACCEPTED:
            planned.thing.id = self._layout.id_at(place)
        value = self._writer.value_of(planned)
        return PlannedCommand(planned.topic, player.user_id, player.key, value, planned.expected)


def marketplace(
    seed: int,
    users: int,
    *,
    layout: Layout | None = None,
    shares: Shares = Shares(),  # noqa: B008 - a value, never changed
) -> Iterator[PlannedCommand]:
    """The funding of ``users`` and then their marketplace, endless; see ``Script``."""
    script = Script(seed, users, layout or Layout(12), shares)
    yield from script.funding()
    yield from script.marketplace()


class Writer:
    """Writes planned commands as records; what one is about must have its id by now."""

    def __init__(self, label: str, network: str = "regtest") -> None:
        self._label = label
        elsewhere = blake2b(label.encode(), digest_size=20).digest()
        self._destination = encode_address(NETWORKS[network].p2pkh, elsewhere)

    def value_of(self, planned: Planned) -> bytes:
        """The record's value; its key is the player's."""
        number = f"{self._label}:{planned.kind.value}:{planned.origin}"
        return encode_command(
            planned.kind,
            user_id=planned.player.user_id,
            idempotency_key=number,
            data=self._data_of(planned),
            issuer=ISSUER,
            issued_at=_ISSUED_AT,
            id=number,
        )

    def _data_of(self, planned: Planned) -> Data:
        thing = planned.thing
        if type(thing) is Order:
            return _data_of_order(planned, thing)
        if type(thing) is Payout and not planned.makes:
            return self._data_of_payout(planned, thing.id)
        match planned.kind:
            case CommandType.LOCK_FUNDS:
                return LockFunds(
                    amount=Koinu(planned.amount),
                    reference_type=_REFERENCE,
                    reference_id=planned.reference_id,
                )
            case CommandType.UNLOCK_FUNDS:
                return UnlockFunds(
                    amount=Koinu(planned.amount),
                    reference_type=_REFERENCE,
                    reference_id=planned.reference_id,
                )
            case CommandType.PROCESS_DEPOSIT:
                return ProcessDeposit(
                    txid=self._txid_of(planned),
                    vout=0,
                    address=planned.player.address,
                    amount=Koinu(planned.amount),
                    block_hash=_BLOCK_HASH,
                    height=1,
                    ordinal=1,
                )
            case CommandType.REQUEST_WITHDRAWAL:
                return RequestWithdrawal(amount=Koinu(planned.amount), address=self._destination)
            case CommandType.OPEN_WALLET:
                return OpenWallet()
            case CommandType.ASSIGN_ADDRESS:
                return AssignAddress()
            case _:
                raise AssertionError(f"a market asks for no {planned.kind}")

    def _data_of_payout(self, planned: Planned, withdrawal_id: str) -> Data:
        match planned.kind:
            case CommandType.CANCEL_WITHDRAWAL:
                return CancelWithdrawal(withdrawal_id=withdrawal_id)
            case CommandType.CLAIM_WITHDRAWAL:
                return ClaimWithdrawal(withdrawal_id=withdrawal_id)
            case CommandType.RECORD_BROADCAST:
                txid = self._txid_of(planned)
                return RecordBroadcast(withdrawal_id=withdrawal_id, txid=txid)
            case CommandType.CONFIRM_WITHDRAWAL:
                # Not the one that was broadcast: a txid is malleable.
                txid = self._txid_of(planned)
                return ConfirmWithdrawal(withdrawal_id=withdrawal_id, txid=txid)
            case CommandType.FAIL_WITHDRAWAL:
                return FailWithdrawal(withdrawal_id=withdrawal_id, reason="conflicted")
            case _:
                raise AssertionError(f"{planned.kind} is about no withdrawal")

    def _txid_of(self, planned: Planned) -> str:
        return blake2b(f"{self._label}\0{planned.origin}".encode(), digest_size=32).hexdigest()


def _data_of_order(planned: Planned, order: Order) -> Data:
    match planned.kind:
        case CommandType.PAY_ORDER:
            return PayOrder(
                seller_id=order.seller.user_id,
                order_id=f"order-{planned.origin}",
                amount=Koinu(planned.amount),
            )
        case CommandType.CONVERT_TO_ESCROW:
            return ConvertToEscrow(
                seller_id=order.seller.user_id,
                order_id=f"order-{planned.origin}",
                amount=Koinu(planned.amount),
                reference_type=_REFERENCE,
                reference_id=planned.reference_id,
            )
        case CommandType.RELEASE_ESCROW:
            amount = None if planned.whole else Koinu(planned.amount)
            return ReleaseEscrow(escrow_id=order.id, amount=amount)
        case CommandType.REFUND_ESCROW:
            amount = None if planned.whole else Koinu(planned.amount)
            return RefundEscrow(escrow_id=order.id, amount=amount)
        case CommandType.DISPUTE_ESCROW:
            return DisputeEscrow(escrow_id=order.id, reason="not as described")
        case CommandType.RESOLVE_DISPUTE:
            return ResolveDispute(
                escrow_id=order.id,
                to_seller=Share(planned.amount),
                to_buyer=Share(planned.rest),
            )
        case _:
            raise AssertionError(f"{planned.kind} is about no order")
