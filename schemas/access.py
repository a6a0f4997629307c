"""Who may do what on the broker: the ACLs that follow from the table of topics.

What is not granted is refused, as long as the broker's authorizer refuses by default
(``allow.everyone.if.no.acl.found`` off, which is its default).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from shlex import quote
from typing import Final, NamedTuple

from schemas.settings import Settings
from schemas.topics import ALL_TOPICS, VIEWS_STATE, Party, topic_name

#: A name that a principal has by default is this and the party's: ``User:wallet-worker``.
_DEFAULT: Final = "wallet-"
#: Groups in whose name the adapter reads without ever joining or committing.
READERS_GROUPS: Final = ("wallet-view", "wallet-replay")
#: The same of our client, where it follows what became of commands.
OUTCOMES_GROUP: Final = "wallet-client-outcomes"
#: Parties that one service may be at once.
_OF_A_SERVICE: Final = frozenset({Party.SERVICES, Party.CONSUMERS, Party.OUTCOMES})


class Kind(StrEnum):
    """What an ACL is about, in Kafka's words."""

    TOPIC = "topic"
    GROUP = "group"
    TRANSACTION = "transactional-id"


class Operation(StrEnum):
    """What may be done; reading and writing a topic include describing it."""

    READ = "Read"
    WRITE = "Write"
    DESCRIBE = "Describe"
    CREATE = "Create"
    DELETE = "Delete"


class Grant(NamedTuple):
    """One thing that one principal may do to what has a name, or begins with it."""

    principal: str
    operation: Operation
    kind: Kind
    name: str
    prefixed: bool = False


class AccessError(Exception):
    """The principals that were named cannot be given what they need and no more."""


def grants(settings: Settings, named: Mapping[Party, Sequence[str]] = {}) -> list[Grant]:
    """Every grant that a running wallet needs, in the order of the table of topics.

    ``named`` has the principals of a party, without ``User:``; a party that is left out has one of
    the name ``wallet-PARTY``. Raises ``AccessError``.
    """
    principals = {party: tuple(named.get(party) or (f"{_DEFAULT}{party}",)) for party in Party}
    _refuse_shared(principals)
    found = [
        Grant(principal, operation, kind, name, prefixed)
        for party, operation, kind, name, prefixed in _of_parties(settings)
        for principal in principals[party]
    ]
    return [*found, *_of_consumers(settings, principals[Party.CONSUMERS])]


_OfParty = tuple[Party, Operation, Kind, str, bool]


def _of_parties(settings: Settings) -> Iterator[_OfParty]:
    for topic in ALL_TOPICS:
        name = topic_name(settings, topic.name)
        for party in Party:
            if party in topic.writers:
                yield party, Operation.WRITE, Kind.TOPIC, name, False
            if party in topic.readers:
                yield party, Operation.READ, Kind.TOPIC, name, False
        yield Party.OPERATORS, Operation.CREATE, Kind.TOPIC, name, False
    yield Party.WORKER, Operation.READ, Kind.GROUP, settings.group, False
    yield Party.OPERATORS, Operation.READ, Kind.GROUP, settings.group, False
    bridges = settings.topic_prefix + settings.bridge_group
    yield Party.BRIDGE, Operation.READ, Kind.GROUP, bridges, False
    for party in (Party.WORKER, Party.OPERATORS):
        transactions = settings.topic_prefix + settings.group
        yield party, Operation.WRITE, Kind.TRANSACTION, transactions, True
    for party in (Party.WORKER, Party.VIEWS, Party.OPERATORS):
        for group in READERS_GROUPS:
            yield party, Operation.DESCRIBE, Kind.GROUP, group, False
    yield Party.OUTCOMES, Operation.DESCRIBE, Kind.GROUP, OUTCOMES_GROUP, False
    yield from _of_views(settings, watched=(settings.group, bridges))


def _of_views(settings: Settings, watched: Sequence[str]) -> Iterator[_OfParty]:
    """They look at the lag of others, and make what they keep anew."""
    group = settings.topic_prefix + settings.views_group
    yield Party.VIEWS, Operation.READ, Kind.GROUP, group, False
    for other in watched:
        yield Party.VIEWS, Operation.DESCRIBE, Kind.GROUP, other, False
    for operation in (Operation.CREATE, Operation.DELETE):
        name = topic_name(settings, VIEWS_STATE.name)
        yield Party.VIEWS, operation, Kind.TOPIC, name, False


def _of_consumers(settings: Settings, principals: Sequence[str]) -> Iterator[Grant]:
    """A consumer's groups begin with its own name; a name that ours begin with too is refused."""
    own = (settings.bridge_group, settings.views_group)
    prefixed = (settings.topic_prefix + name for name in own)
    ours = (settings.group, *prefixed, *READERS_GROUPS, OUTCOMES_GROUP)
    for principal in principals:
        for group in ours:
            if group.startswith(principal):
                raise AccessError(
                    f"A consumer named {principal!r} could move the offsets of the group {group}: "
                    "give it another name."
                )
        yield Grant(principal, Operation.READ, Kind.GROUP, principal, prefixed=True)


def _refuse_shared(principals: Mapping[Party, Sequence[str]]) -> None:
    """One principal for two parties would have the rights of both."""
    owner: dict[str, Party] = {}
    for party, names in principals.items():
        for name in names:
            if name in owner and not {owner[name], party} <= _OF_A_SERVICE:
                raise AccessError(
                    f"{name!r} is to be both {owner[name]} and {party}: give each its own name."
                )
            owner[name] = party


def script(wanted: Sequence[Grant]) -> str:
    """The grants as a shell script around Kafka's own ``kafka-acls.sh``."""
    lines = [
        "#!/bin/sh",
        "# The wallet's ACLs; needs BOOTSTRAP (HOST:PORT) and ADMIN, a file with a superuser's",
        "# client settings. `kafka-acls.sh` stands in the folder bin/ of Apache Kafka.",
        "set -eu",
        'acl() { kafka-acls.sh --bootstrap-server "$BOOTSTRAP" --command-config "$ADMIN" "$@"; }',
        "",
    ]
    for grant in wanted:
        pattern = " --resource-pattern-type prefixed" if grant.prefixed else ""
        lines.append(
            f"acl --add --allow-principal {quote('User:' + grant.principal)}"
            f" --operation {grant.operation} --{grant.kind} {quote(grant.name)}{pattern}"
        )
    return "\n".join(lines) + "\n"
