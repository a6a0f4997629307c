"""Asks the doctor about a database, and damages what it is asked about."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec
import psycopg

from schemas.settings import Settings
from streams.doctor import Options, Report, examination
from tests.conftest import Database
from tests.streams.payer.world import NETWORK, XPUB

#: The checks that need a chain to be followed.
ONCHAIN: Final = {
    *("blocks", "scripts", "coins", "spends", "reservations", "versions", "receipts", "outflows"),
    *("payouts", "books and coins"),
}


class Damage(NamedTuple):
    """What is done behind the service's back, who must find it, and in which words."""

    check: str
    words: str
    statements: tuple[str, ...]
    #: Found by others too, since one row often serves several truths.
    others: frozenset[str] = frozenset()


def case_of(check: str, words: str, *statements: str, also: str = "") -> Damage:
    return Damage(check, words, statements, frozenset(filter(None, also.split(", "))))


def report_on(database: Database, **changes: Any) -> Report:
    settings = Settings(worker_database_url=database.worker_url, account_xpub=XPUB, network=NETWORK)
    return examination(msgspec.structs.replace(settings, **changes), Options())


def found_in(report: Report) -> dict[str, list[str]]:
    return {
        check.check: [f"{finding.subject}: {finding.detail}" for finding in check.first]
        for check in report.checks
        if check.wrong
    }


def left_out_of(report: Report) -> dict[str, str]:
    return {check.check: check.left_out for check in report.checks if check.left_out}


def damage(database: Database, *statements: str) -> None:
    """As a superuser, with triggers and references off."""
    with psycopg.connect(database.superuser_url) as connection:
        connection.execute("SET session_replication_role = replica")
        for statement in statements:
            assert connection.execute(statement).rowcount > 0, statement
