"""The key is in the payer's memory and nowhere else; and its role can touch no balance."""

from __future__ import annotations

import logging
import resource
import subprocess
import sys
import traceback
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner

from api.commands.payer import command
from db.engine import connect
from processors.dogecoin.derivation import PrivateAccount
from processors.dogecoin.hidden import Hidden
from tests.conftest import Database
from tests.streams.payer.world import NETWORK, XPRV, XPUB, world_on


def dump(database: Database) -> str:
    """Every row of every table as text, bytes in hex."""
    with connect(database.superuser_url, application_name="test") as connection:
        tables = connection.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r'"
            " AND relnamespace = 'public'::regnamespace"
        ).fetchall()
        return "\n".join(
            str(row[0])
            for (table,) in tables
            for row in connection.execute(f"SELECT t::text FROM {table} t")
        )


def test_no_key_is_in_anything_that_a_run_wrote(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with world_on(database) as world:
        world.deposit(100)
        world.request(10)
        world.work(3)
        world.settle_all()
        shown = [repr(world.payer.office), repr(world.signer), repr(vars(world.payer))]
        try:
            world.signer.sign(None)  # type: ignore[arg-type]
        except AttributeError as error:
            frames = traceback.TracebackException.from_exception(error, capture_locals=True)
            shown += frames.format()
        written = "\n".join(
            [*shown, caplog.text, dump(database), Path("/proc/self/cmdline").read_text()]
        )
    account = PrivateAccount(Hidden(XPRV), NETWORK)
    keys = [account.secret(chain, index) for chain in (0, 1) for index in range(5)]
    assert "claim_withdrawal" in written
    for key in (XPRV, XPRV[-60:], *(key.hex() for key in keys), *(repr(key) for key in keys)):
        assert key not in written


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM wallets",
        "UPDATE wallets SET available = 1",
        "SELECT * FROM entries",
        "INSERT INTO entries DEFAULT VALUES",
        "SELECT * FROM deposits",
        "UPDATE withdrawals SET status = 'PENDING'",
        "INSERT INTO withdrawals DEFAULT VALUES",
        "INSERT INTO commands DEFAULT VALUES",
        "UPDATE receipts SET credited = true",
        "UPDATE coins SET amount = 1",
        "DELETE FROM spends",
        "INSERT INTO watcher_outbox DEFAULT VALUES",
        "DELETE FROM claims",
        "DELETE FROM payout_versions",
        "UPDATE payer_outbox SET data = '{}'",
        "UPDATE reservations SET payout_id = 1",
    ],
)
def test_the_payers_role_touches_neither_wallets_nor_entries(
    database: Database, statement: str
) -> None:
    with (
        connect(database.payer_url, application_name="test") as payer,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        payer.execute(statement)


def test_a_process_that_may_not_be_dumped_says_so() -> None:
    script = (
        "import ctypes, resource\n"
        "from streams.payer.process import forbid_dumps\n"
        "forbid_dumps()\n"
        "print(resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == "(0, 0) 0"
    assert resource.getrlimit(resource.RLIMIT_CORE) is not None


def test_a_payer_without_its_secret_says_so_in_one_line(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.streams.payer.world import prepared

    prepared(database)
    for name, value in {
        "WALLET_PAYER_DATABASE_URL": database.payer_url,
        "WALLET_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "WALLET_NODE_URL": "http://127.0.0.1:1",
        "WALLET_ACCOUNT_XPUB": XPUB,
        "WALLET_NETWORK": NETWORK,
        "WALLET_ACCOUNT_SECRET": "wallet/account",
        "WALLET_AWS_REGION": "eu-central-1",
        "WALLET_AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("streams.payer.process.forbid_dumps", lambda: None)
    monkeypatch.setattr("streams.logs.configure", lambda *_: None)
    told = CliRunner().invoke(command, [])
    assert told.exit_code == 1
    assert told.output.startswith("Error: AWS Secrets Manager cannot be asked")
    assert told.output.count("\n") == 1
