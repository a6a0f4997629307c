"""The doctor holds our coins against the node, and takes no node for a witness that is none."""

from __future__ import annotations

from streams.doctor import Examined, Options, examination
from tests.streams.doctor.looking import damage, found_in
from tests.streams.watcher.conftest import our_lookout, quiet
from tests.streams.watcher.lookout import Lookout
from tests.support.books import doge

__all__ = ["our_lookout", "quiet"]


def _paid(lookout: Lookout) -> None:
    address = lookout.assign(0)
    watcher = lookout.watcher()
    lookout.node.mine(lookout.node.maturity + 5)
    for amount in (5, 6, 7):
        lookout.node.fund(address, int(doge(amount)))
    lookout.node.mine(2)
    lookout.settle(watcher)


def _of_node(lookout: Lookout) -> Examined:
    report = examination(lookout.settings, Options())
    (told,) = (check for check in report.checks if check.check == "node")
    return told


def test_our_coins_are_the_nodes(our_lookout: Lookout) -> None:
    _paid(our_lookout)
    found = found_in(examination(our_lookout.settings, Options())).keys()
    # No command assigned the address.
    assert found <= {"addresses", "addresses as told"}
    told = _of_node(our_lookout)
    assert (told.subjects, told.wrong, told.left_out) == (4, 0, None)


def test_coins_that_the_node_has_not_are_found(our_lookout: Lookout) -> None:
    _paid(our_lookout)
    damage(
        our_lookout.database,
        "UPDATE coins SET amount = amount + 1 WHERE amount = 500000000",
        "UPDATE coins SET txid = repeat('7', 64) WHERE amount = 600000000",
        "UPDATE coins SET public_key_hash = decode(repeat('11', 20), 'hex')"
        " WHERE amount = 700000000",
    )
    details = [finding.detail for finding in _of_node(our_lookout).first]
    assert len(details) == 3
    assert "it is 500000001 koinu here and 500000000 at the node" in details
    assert "the node does not have it, or it is spent" in details
    assert any("at the node it pays another script" in detail for detail in details)


def test_a_tip_that_the_node_has_never_heard_of_is_found(our_lookout: Lookout) -> None:
    _paid(our_lookout)
    height = our_lookout.tip()[0]
    damage(
        our_lookout.database, f"UPDATE blocks SET hash = repeat('8', 64) WHERE height = {height}"
    )
    (finding,) = _of_node(our_lookout).first
    assert "the node has never heard of" in finding.detail


def test_a_node_that_left_our_tip_or_is_behind_or_away_is_no_witness(our_lookout: Lookout) -> None:
    _paid(our_lookout)
    our_lookout.node.reorganise(1)
    assert "the node has left our block" in str(_of_node(our_lookout).left_out)
    our_lookout.node.mine(3)
    our_lookout.settle(our_lookout.watchers[0])
    assert _of_node(our_lookout).left_out is None
    our_lookout.node.stop()
    assert "the node was asked in vain" in str(_of_node(our_lookout).left_out)
