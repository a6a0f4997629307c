"""The doctor finds nothing in sound books, and each kind of damage by the check that is for it."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from db.audit.snapshot import CHECKS, snapshot
from db.audit.told import TOLD
from schemas.settings import Settings
from streams.doctor import Options, Report, examination, examine
from tests.conftest import Database, Databases
from tests.streams.doctor.damages import DAMAGES, ONE_ENTRY, WALLET
from tests.support.played import play, seed
from tests.support.story import XPUB


def settings_of(database: Database, url: str | None = None) -> Settings:
    return Settings(
        database_url=database.owner_url,
        worker_database_url=database.worker_url if url is None else url,
        account_xpub=XPUB,
        partitions=4,
    )


@pytest.fixture(scope="module")
def played(databases: Databases) -> Iterator[Databases]:
    """Copies of a database in which the story was played."""
    database = databases.fresh()
    seed(settings_of(database))
    play(database)
    yield Databases(server=databases.server, template=database.name)


@pytest.fixture
def books(played: Databases) -> Iterator[Database]:
    """The test's own copy."""
    copy = played.fresh()
    yield copy
    played.drop(copy.name)


def report_on(database: Database, **options: bool) -> Report:
    return examination(settings_of(database), Options(**options))


def damage(database: Database, *statements: str) -> None:
    """Change what nobody may change: as a superuser, with triggers and references off."""
    with psycopg.connect(database.superuser_url) as connection:
        connection.execute("SET session_replication_role = replica")
        for statement in statements:
            # Of a change to a table itself there are no rows to count: -1.
            assert connection.execute(statement).rowcount != 0, statement


def test_sound_books_are_clean_and_every_check_has_looked_at_something(books: Database) -> None:
    report = report_on(books)
    assert report.findings == []
    assert report.clean
    looked = {check.check: check.subjects for check in report.checks if check.left_out is None}
    assert set(looked) == {check.name for check in CHECKS} | {
        *("chain", "derivation", "rules as told")
    }
    assert all(looked.values()), looked
    left_out = {check.check: check.left_out for check in report.checks if check.left_out}
    assert {name for name, reason in left_out.items() if "no broker is named" in reason} == {
        "published",
        "topics",
    }
    onchain = {name for name, why in left_out.items() if why == "nothing is followed on a chain"}
    assert set(left_out) == {"published", "topics", "node", "books and coins"} | onchain
    assert {"node", "books and coins", "payouts", "receipts"} <= onchain


@pytest.mark.parametrize("name", DAMAGES)
def test_each_kind_of_damage_is_found_by_its_check(books: Database, name: str) -> None:
    case = DAMAGES[name]
    damage(books, *case.statements)
    report = report_on(books)
    found = {
        check.check: [finding.detail for finding in check.first]
        for check in report.checks
        if check.wrong
    }
    assert not report.clean
    assert any(case.words in detail for detail in found.get(case.check, ())), found
    assert set(found) - {case.check} == case.others, found


def test_a_quick_look_leaves_the_dear_checks_out_and_says_so(books: Database) -> None:
    damage(books, f"UPDATE entries SET reference_id = 'a-2' WHERE id = {ONE_ENTRY}")
    report = report_on(books, quick=True)
    assert report.clean
    left_out = {check.check for check in report.checks if check.left_out == "left out by --quick"}
    assert left_out == {"chain", "derivation", "references", "running balances"} | {
        check.name for check in TOLD
    }


def test_a_role_that_may_not_read_everything_is_told_what_it_left_out(books: Database) -> None:
    damage(books, WALLET % "available = available + 100")
    settings = Settings(api_database_url=books.api_url)
    report = examination(settings, Options())
    left_out = {check.check: check.left_out for check in report.checks if check.left_out}
    assert "wallet_api may not read batch_slices" in str(left_out["offsets"])
    assert {finding.check for finding in examine(settings)} == {"balances", "running balances"}


def test_a_forged_digest_breaks_the_chain(books: Database) -> None:
    damage(books, f"UPDATE entries SET reference_id = 'a-2' WHERE id = {ONE_ENTRY}")
    with snapshot(books.worker_url) as look:
        (forged,) = [d for d in look.digests() if d.slice and d.slice.digest != d.digest]
    part = forged.slice
    assert part is not None
    damage(
        books,
        f"UPDATE batch_slices SET digest = decode('{forged.digest.hex()}', 'hex') WHERE"
        f" (batch_id, topic, partition) = ({part.batch_id}, {part.topic}, {part.partition})",
    )
    (finding,) = examine(settings_of(books))
    assert finding.check == "chain"
    assert "does not follow" in finding.detail


def test_only_the_first_findings_are_told_and_all_are_counted(books: Database) -> None:
    damage(books, "UPDATE entries SET balance_after = balance_after + 1 + debit")
    report = report_on(books)
    check = next(check for check in report.checks if check.check == "running balances")
    assert check.wrong > len(check.first) == 20
