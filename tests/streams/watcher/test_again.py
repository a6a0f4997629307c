"""Blocks read again for scripts that came late: all is found once, and nothing is seen half."""

from __future__ import annotations

import pytest

from db.engine import connect
from db.treasury import chain
from processors.dogecoin.building import Template, TemplateInput, to_cold
from processors.dogecoin.derivation import CHANGE_CHAIN, account_keys
from processors.dogecoin.hidden import Hidden
from processors.dogecoin.signing import AccountSigner
from schemas.addresses import decode_address
from schemas.amounts import KOINU_PER_DOGE
from streams.watcher.again import _PIECE_BLOCKS
from streams.watcher.process import CannotReadAgain, read_again
from tests.streams.watcher.lookout import Lookout
from tests.support.nodes import NETWORK
from tests.support.story import ELSEWHERE, KEYRING

DOGE = KOINU_PER_DOGE
CHANGE = KEYRING.first.address(CHANGE_CHAIN, 0)


def _watch_change(lookout: Lookout) -> None:
    payload = decode_address(CHANGE)
    assert payload is not None
    lookout.watch_script(payload[1:], CHANGE)


def _spend(lookout: Lookout, txid: str) -> None:
    """Send the coin of change that a transaction made away, as the payer would."""
    paid = lookout.node.call("getrawtransaction", txid, 1)["vout"]
    (vout,) = [each["n"] for each in paid if CHANGE in each["scriptPubKey"].get("addresses", ())]
    amount = round(paid[vout]["value"] * DOGE)
    coin = TemplateInput(
        txid=txid,
        vout=vout,
        amount=amount,
        chain=CHANGE_CHAIN,
        derivation_index=0,
        address=CHANGE,
    )
    fee = DOGE // 100
    template = Template(
        network=NETWORK, inputs=(coin,), outputs=(to_cold(ELSEWHERE, amount - fee),), fee=fee
    )
    signer = AccountSigner(Hidden(account_keys(bytes(range(64)), NETWORK)[0]), NETWORK, fee_max=fee)
    lookout.node.call("sendrawtransaction", signer.sign(template).serialize().hex())


def _ask(lookout: Lookout, height: int) -> None:
    with (
        connect(lookout.database.watcher_url, application_name="test") as connection,
        connection.cursor() as cursor,
    ):
        chain.ask_rescan(cursor, height)


def _finish(lookout: Lookout) -> None:
    watcher = lookout.watchers[-1]
    lookout.settle(watcher)
    assert lookout.rows("SELECT rescan_from, rescan_height FROM chain_state") == [(None, None)]


def test_coins_of_a_script_that_came_late_are_found_and_so_is_what_spent_them(
    our_lookout: Lookout,
) -> None:
    lookout = our_lookout
    address = lookout.assign(1)
    watcher = lookout.watcher()
    lookout.node.fund(address, 5 * DOGE)
    late = lookout.node.fund(CHANGE, 7 * DOGE)
    spent = lookout.node.fund(CHANGE, 11 * DOGE)
    lookout.node.mine(3)
    _spend(lookout, spent)
    lookout.node.mine(_PIECE_BLOCKS)
    lookout.settle(watcher)
    assert lookout.unspent() == 5 * DOGE
    _watch_change(lookout)
    for _ in range(2):
        _ask(lookout, 0)
        _finish(lookout)
        assert lookout.unspent() == 12 * DOGE
        assert lookout.rows("SELECT count(*) FROM coins WHERE txid IN (%s, %s)", late, spent) == [
            (2,)
        ]
        assert lookout.rows("SELECT count(*) FROM spends WHERE txid = %s", spent) == [(1,)]
    assert len(lookout.keys("process_deposit")) == 1


def test_nothing_of_it_is_seen_before_all_of_it_is_read(our_lookout: Lookout) -> None:
    lookout = our_lookout
    watcher = lookout.watcher()
    spent = lookout.node.fund(CHANGE, 11 * DOGE)
    lookout.node.mine(_PIECE_BLOCKS + 5)
    _spend(lookout, spent)
    lookout.node.mine()
    lookout.settle(watcher)
    _watch_change(lookout)
    _ask(lookout, 0)
    watcher.run_once()
    assert lookout.rows("SELECT rescan_height > 0 FROM chain_state") == [(True,)]
    assert lookout.rows("SELECT count(*) FROM coins") == [(0,)]
    _finish(lookout)
    assert lookout.unspent() == 0
    assert lookout.rows("SELECT count(*) FROM coins") == [(1,)]


def test_a_reorganisation_and_another_watcher_meanwhile_change_nothing_of_what_is_found(
    our_lookout: Lookout,
) -> None:
    lookout = our_lookout
    watcher = lookout.watcher()
    lookout.node.fund(CHANGE, 7 * DOGE)
    lookout.node.mine(_PIECE_BLOCKS - lookout.node.call("getblockcount") % _PIECE_BLOCKS + 5)
    lookout.settle(watcher)
    _watch_change(lookout)
    _ask(lookout, 0)
    watcher.run_once()
    lookout.node.call("wallet_reorganise", {"depth": 8, "blocks": [{} for _ in range(9)]})
    watcher.run_once()
    watcher.close()
    lookout.watcher()
    _finish(lookout)
    assert lookout.unspent() == 7 * DOGE


def test_a_deposit_that_was_overlooked_is_told_and_credited_once(our_lookout: Lookout) -> None:
    lookout = our_lookout
    address = lookout.assign(1)
    watcher = lookout.watcher()
    txid = lookout.node.fund(address, 5 * DOGE)
    lookout.node.mine(3)
    lookout.settle(watcher)
    known = lookout.keys()
    with connect(lookout.database.superuser_url, application_name="test") as connection:
        connection.execute("DELETE FROM receipts")
        connection.execute("DELETE FROM coins")
        connection.execute("DELETE FROM watcher_outbox")
    _ask(lookout, 2)
    _finish(lookout)
    lookout.node.mine()
    lookout.settle(watcher)
    assert lookout.keys() == known
    assert {key[0] for key in lookout.receipts()} == {txid}


def test_the_command_says_that_nobody_follows_and_the_wish_stands(our_lookout: Lookout) -> None:
    lookout = our_lookout
    watcher = lookout.watcher()
    lookout.node.mine()
    lookout.settle(watcher)
    watcher.close()
    told: list[str] = []
    with pytest.raises(CannotReadAgain, match="no watcher follows"):
        read_again(lookout.settings, 3, told.append)
    assert told == []
    assert lookout.rows("SELECT rescan_from FROM chain_state") == [(3,)]
