"""The log alone gives the same database again, byte for byte; what does not is not written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import msgspec
import psycopg
import pytest
from click.testing import CliRunner

from api.commands.rebuild import command
from db.audit.snapshot import snapshot
from db.engine import connect
from db.ledger import rebuilding, rules
from processors.dogecoin.derivation import account_keys
from processors.dogecoin.keyring import AccountUnknown
from processors.ledger.decide import DECISIONS
from processors.ledger.model import Books, Decision, Refusal, Request
from processors.seed import RulesOfAnotherAccount, first_rules
from schemas.commands import LockFunds
from schemas.rejections import Rejection
from streams import rebuild
from streams.rebuild import replay
from tests.conftest import Database, Databases
from tests.streams.rebuild.conftest import Told
from tests.support.running import Teller, environment_of, worker_on
from tests.support.story import ANN, KEYRING, doge


@pytest.fixture
def empty(databases: Databases) -> Iterator[Database]:
    """A migrated database without rules."""
    database = databases.fresh()
    yield database
    databases.drop(database.name)


def run(
    told: Told, target: Database, *, resume: bool = False, only: list[int] | None = None
) -> rebuild.Rebuilt:
    """Rebuild as the owner."""
    with (
        rebuilding.target(target.owner_url) as connection,
        closing(rebuild.Rebuild(told.settings, connection, resume=resume)) as replaying,
    ):
        return replaying.run(only)


def comparison(told: Told, target: Database) -> dict[str, rebuild.Comparison]:
    with snapshot(told.database.worker_url) as ours, snapshot(target.owner_url) as theirs:
        return {line.table: line for line in rebuild.compare(ours, theirs)}


def same(told: Told, target: Database) -> bool:
    return all(line.same for line in comparison(told, target).values())


def value(database: Database, query: str) -> int:
    with connect(database.owner_url, application_name="test") as connection:
        row = connection.execute(query).fetchone()
    assert row is not None
    return int(row[0])


def test_the_history_has_everything_in_it_that_can_go_wrong(told: Told) -> None:
    database = told.database
    multi = (
        "SELECT count(*) FROM (SELECT FROM batch_slices GROUP BY batch_id HAVING count(*) > 2) x"
    )
    assert value(database, multi) > 0
    assert value(database, "SELECT count(*) FROM commands WHERE outcome = 'rejected'") > 3
    assert value(database, "SELECT count(*) FROM commands WHERE outcome = 'replayed'") > 0
    assert value(database, "SELECT count(*) FROM dead_letters WHERE code = 'unprocessable'") == 1
    assert value(database, "SELECT count(*) FROM dead_letters") == 4
    accounts = "SELECT count(DISTINCT account_key) FROM deposit_addresses"
    assert value(database, accounts) == 2
    assert value(database, "SELECT max(rules_version) FROM batches") == 3


def test_a_rebuild_that_lacks_an_account_says_so_and_goes_on_once_it_has_it(
    told: Told, empty: Database
) -> None:
    first, _ = told.settings.account_xpub.split(",")
    lacking = replace(told, settings=msgspec.structs.replace(told.settings, account_xpub=first))
    for resume in (False, True):
        with pytest.raises(AccountUnknown, match=KEYRING.fingerprints[1]):
            run(lacking, empty, resume=resume)
    assert run(told, empty, resume=True).batches > 0
    assert same(told, empty)


def test_a_rebuilt_database_holds_the_same_hash_by_hash(told: Told, empty: Database) -> None:
    batches = value(told.database, "SELECT count(*) FROM batches")
    done = run(told, empty)
    assert (done.batches, done.skipped) == (batches, 0)
    tables = comparison(told, empty)
    assert all(line.same for line in tables.values()), tables
    assert tables["entries"].source.rows > 50
    assert value(empty, "SELECT count(*) FROM outbox") == 0
    # The next batch of a worker takes a number of its own.
    last = value(empty, "SELECT max(id) FROM batches")
    assert value(empty, "SELECT nextval('batch_numbers')") == last + 1


def test_a_rebuild_goes_on_where_it_stopped_or_a_backup_ends(told: Told, empty: Database) -> None:
    run(told, empty, only=[1, 2, 3])
    assert value(empty, "SELECT count(*) FROM batches") == 3
    with pytest.raises(rebuild.TargetNotEmpty, match="--resume"):
        run(told, empty)
    done = run(told, empty, resume=True)
    assert done.skipped == 3
    assert same(told, empty)
    again = run(told, empty, resume=True)
    assert (again.batches, again.records) == (0, 0)


def test_the_first_row_that_differs_is_named(told: Told, empty: Database) -> None:
    run(told, empty)
    with psycopg.connect(empty.superuser_url) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(
            "UPDATE wallets SET available = available + 1 WHERE user_id = %s", (ANN,)
        )
        connection.execute("DELETE FROM escrows WHERE order_id = 'o-1'")
    tables = comparison(told, empty)
    assert {table for table, line in tables.items() if not line.same} == {"wallets", "escrows"}
    assert ANN in str(tables["wallets"].difference)
    assert "in the source" in str(tables["escrows"].difference)


def test_a_stretch_of_another_logic_is_named_with_its_release(
    told: Told, empty: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = value(told.database, "SELECT max(id) FROM batches")
    monkeypatch.setattr(replay, "LOGIC_VERSION", 2)
    with pytest.raises(rebuild.AnotherLogic, match=f"Batches 1 to {last} .* release 0.1.0"):
        run(told, empty)
    assert value(empty, "SELECT count(*) FROM batches") == 0


def test_a_batch_that_comes_out_differently_is_not_written(
    told: Told, empty: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(request: Request, data: Any, books: Books) -> Decision:
        return Refusal(Rejection.WALLET_FROZEN)

    kind: type[msgspec.Struct] = LockFunds
    monkeypatch.setitem(DECISIONS, kind, refuse)
    with pytest.raises(rebuild.Diverged, match=r"comes out differently.*Nothing of it was written"):
        run(told, empty)
    written = value(empty, "SELECT max(id) FROM batches")
    assert 0 < written < value(told.database, "SELECT max(id) FROM batches")
    monkeypatch.undo()
    run(told, empty, resume=True)
    assert same(told, empty)


def test_rules_that_the_log_does_not_begin_with_are_refused(told: Told, empty: Database) -> None:
    other = msgspec.structs.replace(told.settings, rules_withdrawal_fee="7")
    with connect(empty.owner_url, application_name="test") as connection:
        rules.seed_rules(connection, first_rules(other, KEYRING))
    with pytest.raises(rebuild.RulesDiffer, match="--migrate"):
        run(told, empty)


def test_addresses_of_another_account_are_refused(told: Told, empty: Database) -> None:
    xpub = account_keys(bytes(64), "regtest")[1]
    other = Told(
        settings=msgspec.structs.replace(told.settings, account_xpub=xpub),
        database=told.database,
        story=told.story,
    )
    with pytest.raises(RulesOfAnotherAccount):
        run(other, empty)


def test_the_command_makes_the_tables_rebuilds_and_compares(
    told: Told, databases: Databases
) -> None:
    bare = databases.fresh(migrated=False)
    arguments = ["--into", bare.owner_url, "--migrate", "--compare"]
    result = CliRunner().invoke(command, arguments, env=environment_of(told.settings))
    assert result.exit_code == 0, result.output
    assert "records replayed" in result.output
    assert "both databases hold the same" in result.output

    again = CliRunner().invoke(command, arguments, env=environment_of(told.settings))
    assert again.exit_code == 1
    assert "--resume" in again.output

    with psycopg.connect(bare.superuser_url) as connection:
        connection.execute("UPDATE wallets SET bids = bids + 1 WHERE user_id = %s", (ANN,))
    only = ["--into", bare.owner_url, "--only-compare"]
    compared = CliRunner().invoke(command, only, env=environment_of(told.settings))
    assert compared.exit_code == 1
    assert "different" in compared.output
    assert ANN in compared.output
    databases.drop(bare.name)


def test_the_command_wants_one_target_that_it_can_reach(told: Told) -> None:
    neither = CliRunner().invoke(command, [], env=environment_of(told.settings))
    assert neither.exit_code == 2
    assert "--into URL or --local NAME" in neither.output
    local = CliRunner().invoke(command, ["--local", "again"], env=environment_of(told.settings))
    assert local.exit_code == 1
    assert "give --into" in local.output


def test_while_the_service_goes_on_both_are_compared_as_of_one_moment(
    told: Told, databases: Databases, empty: Database
) -> None:
    run(told, empty)
    teller = Teller(told.settings)
    try:
        with worker_on(told.settings):
            for number in range(20):
                told.story.do(
                    ANN, LockFunds(amount=doge(1), reference_type="late", reference_id=str(number))
                )
            teller.tell(told.story.close())
            # Some of it may be committed and not yet published: the comparison waits for it.
            with (
                rebuilding.target(empty.owner_url) as connection,
                closing(rebuild.Rebuild(told.settings, connection, resume=True)) as replaying,
            ):
                compared = rebuild.catch_up_and_compare(
                    replaying, told.database.worker_url, empty.owner_url
                )
            assert all(line.same for line in compared), compared
            teller.settle()
    finally:
        teller.close()


def test_a_worker_goes_on_with_a_rebuilt_database(told: Told, empty: Database) -> None:
    run(told, empty)
    moved = msgspec.structs.replace(told.settings, worker_database_url=empty.worker_url)
    teller = Teller(told.settings)
    try:
        with worker_on(moved):
            told.story.do(ANN, LockFunds(amount=doge(1), reference_type="new", reference_id="1"))
            teller.tell(told.story.close())
            teller.settle()
    finally:
        teller.close()
    assert value(empty, "SELECT count(*) FROM locks WHERE reference_type = 'new'") == 1
    assert value(empty, "SELECT count(*) FROM partitions WHERE halted IS NOT NULL") == 0
