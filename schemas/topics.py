"""The topics as data: who may write what where, and how each is kept."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Final

import msgspec

from schemas.settings import Settings


class CommandTopic(IntEnum):
    """The command topics by the code that ids carry."""

    SERVICES = 0
    USERS = 1
    TREASURY = 2


COMMAND_TOPIC_NAMES: Final = {
    CommandTopic.SERVICES: "wallet.commands",
    CommandTopic.USERS: "wallet.commands.users",
    CommandTopic.TREASURY: "wallet.commands.treasury",
}
EVENTS: Final = "wallet.events"
BATCHES: Final = "wallet.batches"
DEAD_LETTERS: Final = "wallet.commands.dead-letter"
EVENT_DEAD_LETTERS: Final = "wallet.events.dead-letter"
ALERTS: Final = "wallet.alerts"

#: Largest value of a command's record.
RECORD_MAX_BYTES: Final = 16 * 1024

#: Command and batch topics are the book of what was asked: kept for ever, stamped by the broker.
_BOOK: Final = {
    "retention.ms": "-1",
    "retention.bytes": "-1",
    "cleanup.policy": "delete",
    "message.timestamp.type": "LogAppendTime",
}
#: Of what anybody may write. The broker unpacks a batch, and refuses one that is larger then than a
#: batch may be. Packed, a thousandth of that passes its limit; a worker, which has to unpack all
#: that it fetches, could then need any memory, or not get past that batch at all.
_COMMANDS: Final = {**_BOOK, "compression.type": "uncompressed"}
_WEEK: Final = {"retention.ms": str(7 * 86_400_000), "cleanup.policy": "delete"}


#: A command that was acknowledged is on disk, where no other replica holds it. All else can be
#: published again: from the outbox, by `wallet events repair`.
SINGLE_COPY: Final = {"flush.messages": "1"}


class Party(StrEnum):
    """Who meets on the topics; the broker knows each by a principal of its own."""

    SERVICES = "services"
    API = "api"
    WORKER = "worker"
    WATCHER = "watcher"
    PAYER = "payer"
    BRIDGE = "bridge"
    VIEWS = "views"
    OPERATORS = "operators"
    CONSUMERS = "consumers"
    #: Services that wait for the outcomes of their own commands.
    OUTCOMES = "outcomes"


class TopicDefinition(msgspec.Struct, frozen=True, kw_only=True):
    """One topic: its logical name, who writes and reads it, and its settings on the broker."""

    name: str
    #: In words, for the pages; ``writers`` and ``readers`` are what the broker's ACLs are made of.
    written_by: str
    read_by: str
    writers: frozenset[Party] = frozenset()
    readers: frozenset[Party] = frozenset()
    config: dict[str, str]
    #: None: as many as the command topics.
    partitions: int | None = None


#: Operators send records of these again (`wallet dead-letters replay`, `wallet events repair`).
_WORKER: Final = frozenset({Party.WORKER, Party.OPERATORS})
#: The views look at what waits, and since when.
_OF_COMMANDS: Final = frozenset({Party.WORKER, Party.VIEWS, Party.OPERATORS})
_OPERATORS: Final = frozenset({Party.OPERATORS})

TOPICS: Final = (
    TopicDefinition(
        name=COMMAND_TOPIC_NAMES[CommandTopic.SERVICES],
        written_by="marketplace services, and the API for them",
        read_by="worker",
        writers=frozenset({Party.SERVICES, Party.API, Party.OPERATORS}),
        readers=_OF_COMMANDS,
        config=_COMMANDS,
    ),
    TopicDefinition(
        name=COMMAND_TOPIC_NAMES[CommandTopic.USERS],
        written_by="the API for an authenticated user",
        read_by="worker",
        writers=frozenset({Party.API, Party.OPERATORS}),
        readers=_OF_COMMANDS,
        config=_COMMANDS,
    ),
    TopicDefinition(
        name=COMMAND_TOPIC_NAMES[CommandTopic.TREASURY],
        written_by="watcher, payer and operators",
        read_by="worker",
        writers=frozenset({Party.WATCHER, Party.PAYER, Party.OPERATORS}),
        readers=_OF_COMMANDS,
        config=_COMMANDS,
    ),
    TopicDefinition(
        name=EVENTS,
        written_by="worker",
        read_by="anyone",
        writers=_WORKER,
        readers=frozenset(
            {Party.BRIDGE, Party.VIEWS, Party.CONSUMERS, Party.OUTCOMES, Party.OPERATORS}
        ),
        config=_WEEK,
    ),
    TopicDefinition(
        name=BATCHES,
        written_by="worker",
        read_by="rebuild, doctor",
        writers=_WORKER,
        readers=_OPERATORS,
        config=_BOOK,
    ),
    TopicDefinition(
        name=DEAD_LETTERS,
        written_by="worker",
        read_by="operators, and services that wait for outcomes",
        writers=_WORKER,
        readers=frozenset({Party.OUTCOMES, Party.OPERATORS}),
        config=_WEEK,
    ),
    TopicDefinition(
        name=EVENT_DEAD_LETTERS,
        written_by="bridge",
        read_by="operators",
        writers=frozenset({Party.BRIDGE}),
        readers=_OPERATORS,
        config=_WEEK,
    ),
    TopicDefinition(
        name=ALERTS,
        written_by="worker, watcher, payer, views, operators",
        read_by="operators",
        writers=frozenset({Party.WORKER, Party.WATCHER, Party.PAYER, Party.VIEWS, Party.OPERATORS}),
        readers=frozenset({Party.VIEWS, Party.OPERATORS}),
        config=_WEEK,
        partitions=1,
    ),
)


#: The views' own: what they keep, so that a restart need not read all events again.
VIEWS_STATE: Final = TopicDefinition(
    name="wallet-views-state-changelog",
    written_by="views",
    read_by="views",
    writers=frozenset({Party.VIEWS}),
    readers=frozenset({Party.VIEWS, Party.OPERATORS}),
    config={
        "cleanup.policy": "compact",
        # A restart reads what is not compacted yet, so that is kept small.
        "segment.bytes": str(32 * 2**20),
        "min.cleanable.dirty.ratio": "0.2",
    },
)
#: All that `wallet topics` makes: the contract's, and what a process keeps for itself.
ALL_TOPICS: Final = (*TOPICS, VIEWS_STATE)


def topic_name(settings: Settings, logical: str | CommandTopic) -> str:
    """The name on the broker of a logical topic."""
    name = COMMAND_TOPIC_NAMES[logical] if isinstance(logical, CommandTopic) else logical
    return settings.topic_prefix + name
