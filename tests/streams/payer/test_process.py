"""The payer's loop around its rounds: one at a time, and the truth about its health."""

from __future__ import annotations

import msgspec
import pytest

from db.engine import connect
from processors.dogecoin.hidden import Hidden
from processors.dogecoin.keyring import Keyring
from processors.dogecoin.signing import AccountSigner
from schemas.settings import Settings
from streams.payer.process import Till
from tests.conftest import Database
from tests.streams.payer.world import NETWORK, XPRV, XPUB, prepared
from tests.support.eventually import eventually


@pytest.fixture
def till_settings(database: Database) -> Settings:
    """Settings of a payer whose node and broker are away."""
    prepared(database)
    return Settings(
        payer_database_url=database.payer_url,
        account_xpub=XPUB,
        network=NETWORK,
        node_url="http://127.0.0.1:1",
        poll_seconds=0.05,
        kafka={"bootstrap.servers": "127.0.0.1:1", "log_level": "0"},
    )


def _till(settings: Settings) -> Till:
    signer = AccountSigner(Hidden(XPRV), NETWORK, fee_max=10**9)
    return Till(settings, Keyring(XPUB, NETWORK), signer)


def test_one_pays_and_the_other_takes_over_when_it_ends(
    till_settings: Settings, database: Database
) -> None:
    first, second = _till(till_settings), _till(till_settings)
    assert first.fault() == "starting"
    first.round()
    second.round()
    assert first.fault() == "the watcher has followed no block yet"
    assert second.fault() == "another payer pays; this one takes over when it ends"
    first.close()

    def taken_over() -> bool:
        second.round()
        return second.fault() == "the watcher has followed no block yet"

    eventually(taken_over, "the second payer pays")
    # Its session dies, and the lock with it: it begins again with another.
    with connect(database.superuser_url, application_name="test", autocommit=True) as superuser:
        superuser.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE application_name = 'wallet-payer' AND datname = %s",
            (database.name,),
        )
    second.round()
    assert "database is away" in (second.fault() or "")
    eventually(taken_over, "the second payer pays again")
    second.close()


def test_a_database_that_is_away_is_waited_for(till_settings: Settings) -> None:
    till = _till(
        msgspec.structs.replace(till_settings, payer_database_url="postgresql://x@127.0.0.1:1/x")
    )
    till.round()
    assert "database is away" in (till.fault() or "")
    till.close()
