"""The doctor finds nothing in sound books, and each kind of damage by the check that is for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import psycopg
import pytest

from db.audit import CHECKS, snapshot
from schemas.settings import Settings
from streams.doctor import Options, Report, examination, examine
from tests.conftest import Database, Databases
from tests.support.played import play, seed
from tests.support.story import ANN, BOB, CAT, KEYRING, XPUB


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
    assert set(looked) == {check.name for check in CHECKS} | {"chain", "derivation"}
    assert all(looked.values()), looked
    left_out = {check.check: check.left_out for check in report.checks if check.left_out}
    assert {name for name, reason in left_out.items() if "no broker is named" in reason} == {
        "published",
        "topics",
    }
    onchain = {name for name, why in left_out.items() if why == "nothing is followed on a chain"}
    assert set(left_out) == {"published", "topics", "node", "books and coins"} | onchain
    assert {"node", "books and coins", "payouts", "receipts"} <= onchain


class Damage(NamedTuple):
    """What is done behind the service's back, who must find it, and in which words."""

    check: str
    words: str
    statements: tuple[str, ...]
    #: Found by others too, since one row often serves several truths.
    others: frozenset[str] = frozenset()


def _case(check: str, words: str, *statements: str, also: str = "") -> Damage:
    return Damage(check, words, statements, frozenset(filter(None, also.split(", "))))


_WALLET: Final = f"UPDATE wallets SET %s WHERE user_id = '{ANN}'"
_ONE_ENTRY: Final = (
    "(SELECT id FROM entries WHERE entry_type = 'BID_LOCK' AND credit > 0 ORDER BY id LIMIT 1)"
)
_ONE_REFUSAL: Final = (
    "(SELECT id FROM commands WHERE code = 'insufficient_funds' ORDER BY id LIMIT 1)"
)

DAMAGES: Final = {
    "a partition that is halted": _case(
        "halted",
        "the log ends",
        "UPDATE partitions SET halted = 'the log ends at 3' WHERE topic = 0 AND partition = 0",
    ),
    "a partition moved on": _case(
        "offsets",
        "the last slice ends at offset",
        "UPDATE partitions SET next_offset = next_offset + 1 WHERE topic = 0 AND last_offset > 3",
    ),
    "a slice taken out": _case(
        "offsets",
        "offsets are applied, but there are no slices",
        "DELETE FROM batch_slices WHERE (topic, partition) = (SELECT topic, partition FROM"
        " batch_slices GROUP BY 1, 2 ORDER BY count(*) LIMIT 1)",
        also="outcomes, outbox, chain",
    ),
    "slices that overlap": _case(
        "offsets",
        "but the slice before ends at",
        "UPDATE batch_slices SET first_offset = first_offset - 1 WHERE (topic, partition,"
        " first_offset) = (SELECT s.topic, s.partition, s.first_offset FROM batch_slices s"
        " JOIN batch_slices b ON b.topic = s.topic AND b.partition = s.partition"
        " AND b.last_offset = s.first_offset - 1 AND b.first_offset < b.last_offset"
        " ORDER BY 1, 2, 3 LIMIT 1)",
        also="outbox",
    ),
    "a chain cut off": _case(
        "offsets",
        "not the partition's",
        "UPDATE partitions SET chain = decode(repeat('11', 32), 'hex')"
        " WHERE topic = 2 AND last_offset IS NOT NULL",
    ),
    "an outcome deleted": _case(
        "outcomes",
        "outcomes are counted",
        f"DELETE FROM commands WHERE id = {_ONE_REFUSAL}",
        also="counters, chain",
    ),
    "a dead letter moved": _case(
        "outcomes",
        "outside of its batch's slices",
        'UPDATE dead_letters SET "offset" = "offset" + 1000',
    ),
    "a batch deleted": _case(
        "outcomes",
        "but no such batch",
        "DELETE FROM batches WHERE id = (SELECT max(id) FROM batches)",
    ),
    "an outbox row of nothing": _case(
        "outbox",
        "is what this row would publish",
        "INSERT INTO outbox (batch_id, topic, partition, first_offset, last_offset, frames)"
        " VALUES (99, 0, 0, 5000, 5001, '')",
    ),
    "rules put in force by hand": _case(
        "rules", "version 1 is in force", "UPDATE rules_head SET version = 1"
    ),
    "rules that nobody set": _case(
        "rules",
        "no accepted command made it",
        "INSERT INTO rules (version, data) SELECT 4, data FROM rules WHERE version = 3",
        "UPDATE rules_head SET version = 4",
    ),
    "an entry that moves more": _case(
        "balanced",
        "its entries debit",
        f"UPDATE entries SET credit = credit + 1 WHERE id = {_ONE_ENTRY}",
        also="balances, running balances, chain",
    ),
    "money made by hand": _case(
        "balances",
        "the wallet says",
        _WALLET % "available = available + 100",
        also="running balances",
    ),
    "a wallet made by hand": _case(
        "counters",
        "it is at version 5; 0 acceptances",
        "INSERT INTO wallets (user_id, version, opened_at)"
        " VALUES ('eeeeeeee-eeee-4eee-8eee-eeeeeeeeeeee', 5, now())",
    ),
    "an event too many": _case(
        "counters", "events are counted", _WALLET % "sequence = sequence + 1"
    ),
    "a wallet deleted": _case(
        "counters",
        "there are outcomes, but no wallet",
        f"DELETE FROM wallets WHERE user_id = '{ANN}'",
        also="balances, holds, addresses, running balances",
    ),
    "a lock raised": _case(
        "holds",
        "locks add up to",
        f"UPDATE locks SET amount = amount + 1 WHERE user_id = '{BOB}'",
    ),
    "an escrow that holds more": _case(
        "holds",
        "escrows add up to",
        f"UPDATE escrows SET remaining = remaining + 1, amount = amount + 1"
        f" WHERE buyer_id = '{ANN}' AND status = 'LOCKED' AND order_id = 'o-1'",
        also="escrows",
    ),
    "an open withdrawal of more": _case(
        "holds",
        "open withdrawals add up to",
        f"UPDATE withdrawals SET amount = amount + 1 WHERE user_id = '{ANN}'"
        " AND status = 'BROADCAST'",
        also="withdrawals",
    ),
    "a debt forgiven by hand": _case(
        "shortfalls",
        "by the entries of the house's shortfall account",
        f"UPDATE wallets SET shortfall = shortfall - 1 WHERE user_id = '{CAT}'",
    ),
    "a debt moved to another": _case(
        "shortfalls",
        "owes 1 koinu, by the entries of the house's shortfall account 0",
        "ALTER TABLE wallets DROP CONSTRAINT wallets_nothing_available_while_owing",
        f"UPDATE wallets SET shortfall = shortfall - 1 WHERE user_id = '{CAT}'",
        f"UPDATE wallets SET shortfall = shortfall + 1 WHERE user_id = '{ANN}'",
    ),
    "a debtor with money": _case(
        "shortfalls",
        "are available although",
        "ALTER TABLE wallets DROP CONSTRAINT wallets_nothing_available_while_owing",
        f"UPDATE wallets SET available = 5 WHERE user_id = '{CAT}'",
        also="balances, running balances",
    ),
    "revenue that was never earned": _case(
        "house",
        "more went out than ever came in",
        "UPDATE entries SET debit = 50000000000 WHERE account = 'fees' AND entry_type = 'REVENUE'",
        also="balanced, chain",
    ),
    "money in suspense": _case(
        "house",
        "unexplained",
        "UPDATE entries SET account = 'suspense' WHERE account = 'capital'",
        also="chain",
    ),
    "a deposit credited once more": _case(
        "deposits",
        "but entries credit",
        "UPDATE deposits SET creditings = creditings + 1 WHERE creditings = 1",
    ),
    "a deposit of another address": _case(
        "deposits",
        "no address of its user",
        f"UPDATE deposits SET address = (SELECT min(address) FROM deposit_addresses"
        f" WHERE user_id <> '{ANN}') WHERE user_id = '{ANN}'",
    ),
    "a reversal that left no trace": _case(
        "deposits",
        "but entries reverse",
        f"UPDATE deposits SET status = 'reversed' WHERE user_id = '{ANN}'",
    ),
    "a withdrawal called paid": _case(
        "withdrawals",
        "but its entries hold",
        "UPDATE withdrawals SET status = 'CONFIRMED', txid = 'x' WHERE status = 'PENDING'",
        also="holds",
    ),
    "a paid withdrawal of more": _case(
        "withdrawals",
        "but entries paid",
        "UPDATE withdrawals SET amount = amount + 1 WHERE status = 'CONFIRMED'",
    ),
    "a withdrawal that nobody requested": _case(
        "withdrawals",
        "no accepted request_withdrawal",
        "UPDATE commands SET type = 'cancel_withdrawal' WHERE type = 'request_withdrawal'"
        " AND outcome = 'accepted'",
        also="chain",
    ),
    "an escrow that released more": _case(
        "escrows",
        "gross released",
        "UPDATE escrows SET released = released + 1, amount = amount + 1 WHERE order_id = 'o-4'",
    ),
    "a miner's fee taken back": _case(
        "network fees",
        "but entries paid",
        "UPDATE network_fees SET posted = false WHERE posted",
    ),
    "an index skipped": _case(
        "addresses", "not dense", "UPDATE address_counters SET next_index = next_index + 1"
    ),
    "an address swapped": _case(
        "derivation",
        "the account's address 0 is",
        "UPDATE deposit_addresses SET address = 'mfWxJ45yp2SFn7UciZyNpvDKrzbhyfKrY8'"
        f" WHERE derivation_index = 0 AND account_key = '{KEYRING.first.fingerprint}'",
        also="deposits",
    ),
    "a replay of something else": _case(
        "keys",
        "the requests are different",
        "UPDATE commands SET request_hash = decode(repeat('22', 16), 'hex')"
        " WHERE outcome = 'replayed'",
        also="chain",
    ),
    "a replay of nothing": _case(
        "keys",
        "is not there",
        "UPDATE commands SET first_id = 'eeeeeeee-eeee-4eee-8eee-eeeeeeeeeeee'"
        " WHERE outcome = 'key_reused'",
        also="chain",
    ),
    "entries of a refused command": _case(
        "references",
        "no accepted command",
        "UPDATE commands SET outcome = 'rejected', code = 'self_dealing' WHERE type = 'fund'"
        " AND outcome = 'accepted'",
        also="counters, chain",
    ),
    "a running balance written over": _case(
        "running balances",
        "goes from",
        f"UPDATE entries SET balance_after = balance_after + 7 WHERE id = {_ONE_ENTRY}",
        also="chain",
    ),
    "an entry's reference changed": _case(
        "chain",
        "not as it was written",
        f"UPDATE entries SET reference_id = 'a-2' WHERE id = {_ONE_ENTRY}",
    ),
    "an entry added with its opposite": _case(
        "chain",
        "2 and 4 are there",
        "INSERT INTO entries (id, command_id, user_id, account, entry_type, debit, credit,"
        " created_at) SELECT (left(id::text, 35) || (CASE debit WHEN 0 THEN 8 ELSE 9 END))::uuid,"
        " command_id, user_id, account, entry_type, debit, credit, created_at"
        " FROM entries WHERE entry_type = 'CAPITAL'",
    ),
    "an outcome of no record": _case(
        "chain",
        "in no slice",
        "UPDATE commands SET id = 'ffffffff-ffff-8fff-bfff-fffffc000000'"
        f" WHERE id = {_ONE_REFUSAL}",
    ),
}


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
    damage(books, f"UPDATE entries SET reference_id = 'a-2' WHERE id = {_ONE_ENTRY}")
    report = report_on(books, quick=True)
    assert report.clean
    left_out = {check.check for check in report.checks if check.left_out == "left out by --quick"}
    assert left_out == {"chain", "derivation", "references", "running balances"}


def test_a_role_that_may_not_read_everything_is_told_what_it_left_out(books: Database) -> None:
    damage(books, _WALLET % "available = available + 100")
    settings = Settings(api_database_url=books.api_url)
    report = examination(settings, Options())
    left_out = {check.check: check.left_out for check in report.checks if check.left_out}
    assert "wallet_api may not read batch_slices" in str(left_out["offsets"])
    assert {finding.check for finding in examine(settings)} == {"balances", "running balances"}


def test_a_forged_digest_breaks_the_chain(books: Database) -> None:
    damage(books, f"UPDATE entries SET reference_id = 'a-2' WHERE id = {_ONE_ENTRY}")
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
