"""Where an operator orders something of the payer: its role, its limits, and no key."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

import click

from db.engine import SchemaMismatchError, require_schema
from db.treasury.claims import ClaimsTaken
from db.treasury.payouts import opened
from db.treasury.purse import CoinsTaken
from processors.dogecoin.derivation import AccountKeyUnusable
from processors.dogecoin.fees import FeesImpossible
from processors.dogecoin.keyring import AccountUnknown
from processors.seed import RulesOfAnotherAccount, keyring_of
from schemas.rejections import Malformed
from schemas.settings import Settings
from streams.node.client import Node, NodeFault, endpoint_of
from streams.payer.housework import NothingToDo, NotOrdered
from streams.payer.office import BLOCKS_TO_WAIT, Desk, Limits
from streams.payer.stranding import NotGivenUp
from streams.secrets import SecretFault

#: What keeps the payer from starting, or an order from being given; each text says what to do.
_FAULTS = (
    AccountKeyUnusable,
    AccountUnknown,
    FeesImpossible,
    RulesOfAnotherAccount,
    SchemaMismatchError,
    SecretFault,
    NotGivenUp,
    NotOrdered,
    ClaimsTaken,
    CoinsTaken,
)


@contextmanager
def desk_of_payer() -> Iterator[tuple[Desk, int]]:
    """A desk of the payer's role, and the rate of fees now."""
    settings = Settings.from_environ()
    settings.require("payer_database_url", "account_xpub")
    with explained(), closing(opened(settings.payer_database_url)) as connection:
        require_schema(connection)
        desk = Desk(connection=connection, limits=Limits.of(settings), keyring=keyring_of(settings))
        yield desk, desk.limits.policy.rate_for(_estimate(settings))


def _estimate(settings: Settings) -> int | None:
    if not settings.node_url:
        return None
    try:
        with closing(Node(endpoint_of(settings))) as node:
            return node.fee_rate(BLOCKS_TO_WAIT)
    except NodeFault as fault:
        click.echo(f"the node was not asked for its fees: {fault}", err=True)
        return None


@contextmanager
def desk_and_node() -> Iterator[tuple[Desk, Node]]:
    """A desk of the payer's role, and the node, which must answer."""
    settings = Settings.from_environ()
    settings.require("payer_database_url", "account_xpub", "node_url")
    with (
        explained(),
        closing(opened(settings.payer_database_url)) as connection,
        closing(Node(endpoint_of(settings))) as node,
    ):
        require_schema(connection)
        yield (
            Desk(connection=connection, limits=Limits.of(settings), keyring=keyring_of(settings)),
            node,
        )


@contextmanager
def explained() -> Iterator[None]:
    """Known faults in one line."""
    try:
        yield
    except Malformed as fault:
        raise click.ClickException(f"WALLET_FEE_*: {fault.detail}") from None
    except NodeFault as fault:
        raise click.ClickException(f"the node cannot tell: {fault}") from None
    except NothingToDo as idle:
        click.echo(str(idle))
        raise click.exceptions.Exit(0) from None
    except _FAULTS as fault:
        raise click.ClickException(str(fault)) from None
