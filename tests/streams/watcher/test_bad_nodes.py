"""A node that lies, stammers, falls silent or is another one: never skipped, always told."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from db.engine import connect
from schemas.amounts import KOINU_PER_DOGE
from streams.local.process import free_port
from streams.node.client import Endpoint, Node, NodeAway, NodeUnusable
from streams.node.shapes import BlockShape, ChainShape, HeaderShape
from streams.watcher import follower
from streams.watcher.follower import ChainOfAnother, Watcher
from tests.streams.watcher.lookout import Lookout, running
from tests.support.eventually import eventually
from tests.support.nodes import OurNode

DOGE = KOINU_PER_DOGE


@pytest.fixture
def node(our_node: OurNode) -> OurNode:
    """Our own, which misbehaves on request."""
    return our_node


class Liar(Node):
    """A node whose answers can be changed on their way."""

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint, patience_seconds=0.3)
        self.change_block: Callable[[BlockShape], BlockShape] = lambda block: block
        self.change_chain: Callable[[ChainShape], ChainShape] = lambda chain: chain
        self.asked: list[str] = []

    def block(self, block_hash: str) -> BlockShape:
        self.asked.append(block_hash)
        return self.change_block(super().block(block_hash))

    def chain(self) -> ChainShape:
        return self.change_chain(super().chain())


FAULTS: list[dict[str, Any]] = [
    {"kind": "garbage", "method": "getblock"},
    {"kind": "half", "method": "getblock"},
    {"kind": "height_lie", "method": "getblock", "value": 1},
    {"kind": "answer", "method": "getblock", "value": {"hash": "00" * 32}},
    {"kind": "answer", "method": "getblock", "value": None},
    {"kind": "error", "method": "getblock", "code": -1, "message": "pruned data"},
    {"kind": "answer", "method": "getblockchaininfo", "value": {"chain": "regtest"}},
    {"kind": "garbage"},
    {"kind": "half"},
    {"kind": "overload"},
    {"kind": "warming_up"},
    {"kind": "lost"},
    {"kind": "unheard"},
]


@pytest.mark.parametrize(
    "fault", FAULTS, ids=lambda fault: f"{fault['kind']} of {fault.get('method', 'every call')}"
)
def test_a_fault_stops_the_watcher_and_is_told_and_nothing_is_skipped(
    our_lookout: Lookout, node: OurNode, fault: dict[str, Any]
) -> None:
    node.mine(3)
    watcher = our_lookout.watcher()
    our_lookout.settle(watcher)
    before = our_lookout.tip()
    node.fund(our_lookout.assign(1), 5 * DOGE)
    node.mine(3)
    node.fault(times=0, **fault)
    with running(watcher):
        eventually(watcher.fault, "the fault is told")
        assert our_lookout.tip() == before
        node.call("wallet_behave")
        eventually(lambda: our_lookout.tip() == node_tip(node), "all is followed")
        eventually(lambda: watcher.fault() is None, "all is well")
    heights = our_lookout.rows("SELECT count(*), max(height) FROM blocks WHERE active")
    assert heights == [(node_tip(node)[0] + 1, node_tip(node)[0])]
    assert len(our_lookout.keys("process_deposit")) == 1


def node_tip(node: OurNode) -> tuple[int, str]:
    return node.call("getblockcount"), node.call("getbestblockhash")


def test_a_node_that_is_killed_is_waited_for(our_lookout: Lookout, node: OurNode) -> None:
    node.mine(3)
    watcher = our_lookout.watcher()
    our_lookout.settle(watcher)
    os.kill(node.pid, signal.SIGKILL)
    with pytest.raises(NodeAway):
        watcher.run_once()


def test_a_node_that_stays_away_is_an_alarm_and_a_short_absence_is_none(
    our_lookout: Lookout, node: OurNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.mine()
    watcher = our_lookout.watcher()
    our_lookout.settle(watcher)
    node.fault(times=0, kind="overload")
    assert watcher._run_guarded() == 0
    assert our_lookout.desk.alarms == []
    monkeypatch.setattr(follower, "_AWAY_SECONDS", 0.0)
    assert [watcher._run_guarded() for _ in range(2)] == [0, 0]
    assert our_lookout.desk.alarms == ["node-away"]
    node.call("wallet_behave")
    our_lookout.settle(watcher)
    node.fault(times=0, kind="overload")
    watcher._run_guarded()
    assert our_lookout.desk.alarms == ["node-away", "node-away"]


def test_a_halted_watcher_that_starts_again_says_so(our_lookout: Lookout, node: OurNode) -> None:
    node.mine()
    our_lookout.settle(our_lookout.watcher())
    with connect(our_lookout.database.watcher_url, application_name="test") as connection:
        connection.execute("UPDATE chain_state SET halted = 'a deep fork'")
    our_lookout.watchers[-1].close()
    watcher = our_lookout.watcher()
    assert [watcher.run_once(), watcher.run_once()] == [0, 0]
    assert our_lookout.desk.alarms == ["deep-reorganisation"]


def _liar(lookout: Lookout, node: OurNode) -> tuple[Liar, Watcher]:
    node.mine(3)
    liar = Liar(node.endpoint)
    watcher = lookout.watcher(node=liar)
    lookout.settle(watcher)
    node.mine(2)
    return liar, watcher


def test_a_block_that_does_not_stand_on_ours_is_looked_at_again_and_then_told(
    our_lookout: Lookout, node: OurNode
) -> None:
    liar, watcher = _liar(our_lookout, node)
    tip = our_lookout.tip()
    liar.change_block = lambda block: msgspec.structs.replace(block, previousblockhash="ab" * 32)
    assert [watcher.run_once(), watcher.run_once()] == [0, 0]
    with pytest.raises(NodeUnusable, match="not our tip"):
        watcher.run_once()
    assert our_lookout.tip() == tip
    liar.change_block = lambda block: block
    our_lookout.settle(watcher)
    assert our_lookout.tip() == our_lookout.node_tip()


def test_an_amount_that_the_txid_does_not_bear_out_is_never_booked(
    our_lookout: Lookout, node: OurNode
) -> None:
    node.mine(3)
    liar = Liar(node.endpoint)
    watcher = our_lookout.watcher(node=liar)
    our_lookout.settle(watcher)
    # The node's own wallet is filled first: by blocks in which nothing is ours.
    node.fund(our_lookout.assign(1), 5 * DOGE)
    node.mine(3)
    paid_at = node_tip(node)[0] - 2

    def generous(block: BlockShape) -> BlockShape:
        """Every output is of a million."""
        return msgspec.structs.replace(
            block,
            tx=tuple(
                msgspec.structs.replace(
                    each,
                    vout=tuple(
                        msgspec.structs.replace(o, value=msgspec.Raw(b"1000000.00000000"))
                        for o in each.vout
                    ),
                )
                for each in block.tx
            ),
        )

    liar.change_block = generous
    with pytest.raises(NodeUnusable, match="is that of"):
        for _ in range(3):
            watcher.run_once()
    assert our_lookout.receipts() == {}
    assert our_lookout.tip()[0] == paid_at - 1, "the block that pays us is not taken"
    liar.change_block = lambda block: block
    our_lookout.settle(watcher)
    assert [receipt.amount for receipt in our_lookout.receipts().values()] == [5 * DOGE]


def test_a_block_that_spends_a_coin_again_is_refused_whole(
    our_lookout: Lookout, node: OurNode
) -> None:
    our_lookout.watch_script(node.miner.script[3:-2], node.miner.address)
    node.mine(node.maturity + 1)
    liar = Liar(node.endpoint)
    watcher = our_lookout.watcher(node=liar)
    node.fund(our_lookout.assign(1), 5 * DOGE)
    node.mine()
    our_lookout.settle(watcher)
    tip, orders = our_lookout.tip(), our_lookout.keys()
    spender = liar.block(tip[1]).tx[1]
    again = msgspec.structs.replace(spender, locktime=spender.locktime + 1)
    again = msgspec.structs.replace(again, txid=again.whole().txid)
    node.mine()
    liar.change_block = lambda block: msgspec.structs.replace(block, tx=(*block.tx, again))
    with running(watcher):
        eventually(lambda: "contradicts" in str(watcher.fault()), "the contradiction is told")
    assert our_lookout.tip() == tip
    assert our_lookout.keys() == orders
    assert our_lookout.desk.alarms == ["node-unusable"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"initialblockdownload": True}, "initial download"),
        ({"chain": "main"}, "'main', not 'regtest'"),
        ({"headers": 10_000}, "far behind"),
        ({"blocks": 0}, "our own chain|far behind|fork"),
    ],
)
def test_a_node_that_is_not_ready_or_another_one_is_not_followed(
    our_lookout: Lookout, node: OurNode, changes: dict[str, Any], told: str
) -> None:
    liar, watcher = _liar(our_lookout, node)
    node.mine(20)
    our_lookout.settle(watcher)
    tip = our_lookout.tip()
    node.mine()
    liar.change_chain = lambda chain: msgspec.structs.replace(chain, **changes)
    assert watcher.run_once() == 0
    assert re.search(told, str(watcher.fault()))
    assert watcher.run_once() == 0
    assert our_lookout.tip() == tip
    assert our_lookout.desk.alarms == ["node-not-followed"]
    liar.change_chain = lambda chain: chain
    our_lookout.settle(watcher)
    assert our_lookout.tip() == our_lookout.node_tip()


def test_a_chain_with_another_first_block_is_not_followed(
    our_lookout: Lookout, node: OurNode
) -> None:
    node.mine(3)
    watcher = our_lookout.watcher(genesis_hash="12" * 32)
    assert watcher.run_once() == 0
    assert "another chain" in str(watcher.fault())
    assert our_lookout.rows("SELECT * FROM chain_state") == []


def test_a_database_of_another_chain_is_refused(our_lookout: Lookout, node: OurNode) -> None:
    node.mine(3)
    our_lookout.settle(our_lookout.watcher())
    our_lookout.watchers[0].close()
    with pytest.raises(ChainOfAnother, match="WALLET_NETWORK"):
        our_lookout.watcher(genesis_hash="12" * 32).run_once()


def test_a_node_that_nobody_runs_is_away_and_the_watcher_says_so(
    our_lookout: Lookout, node: OurNode
) -> None:
    nowhere = Node(Endpoint(f"http://127.0.0.1:{free_port()}"), patience_seconds=0.05)
    watcher = our_lookout.watcher(node=nowhere)
    with running(watcher):
        eventually(lambda: "node is away" in str(watcher.fault()), "it is told")


# ---------------------------------------------------------------------- two nodes


class Second(Node):
    """A second node that knows blocks down to a depth that the test says."""

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint, patience_seconds=0.1)
        self.lacks: int = 0
        self.unknown = False
        self.away = False

    def header(self, block_hash: str) -> HeaderShape | None:
        if self.away:
            raise NodeAway("the second node is away")
        found = super().header(block_hash)
        if found is None or self.unknown:
            return None
        return msgspec.structs.replace(found, confirmations=found.confirmations - self.lacks)


def test_a_deposit_is_credited_only_once_a_second_node_agrees_on_its_block(
    our_lookout: Lookout, node: OurNode
) -> None:
    second = Second(node.endpoint)
    second.unknown = True
    watcher = our_lookout.watcher(second=second)
    node.fund(our_lookout.assign(1), 5 * DOGE)
    node.mine(6)
    our_lookout.settle(watcher)
    assert our_lookout.keys("process_deposit") == []
    assert len(our_lookout.keys("detect_deposit")) == 1
    second.unknown, second.lacks = False, 5
    our_lookout.settle(watcher)
    assert our_lookout.keys("process_deposit") == []
    # Without another block: as soon as it has as many confirmations as are asked.
    second.lacks = 4
    our_lookout.settle(watcher)
    assert len(our_lookout.keys("process_deposit")) == 1


def test_blocks_are_followed_and_nothing_is_credited_while_the_second_node_is_away(
    our_lookout: Lookout, node: OurNode
) -> None:
    second = Second(node.endpoint)
    second.away = True
    watcher = our_lookout.watcher(second=second)
    node.fund(our_lookout.assign(1), 5 * DOGE)
    node.mine(6)
    for _ in range(3):
        watcher.run_once()
    assert our_lookout.tip() == our_lookout.node_tip()
    assert "second node" in str(watcher.fault())
    assert our_lookout.keys("process_deposit") == []
    assert our_lookout.desk.alarms == ["second-node"]
    second.away = False
    our_lookout.settle(watcher)
    assert len(our_lookout.keys("process_deposit")) == 1


# ---------------------------------------------------------------------- two watchers


def test_a_second_watcher_waits_and_takes_over(our_lookout: Lookout, node: OurNode) -> None:
    node.mine(3)
    first, second = our_lookout.watcher(), our_lookout.watcher()
    our_lookout.settle(first)
    assert second.run_once() == 0
    assert "another watcher" in str(second.fault())
    node.mine()
    assert second.run_once() == 0
    first.close()
    our_lookout.settle(second)
    assert our_lookout.tip() == our_lookout.node_tip()


def test_a_watcher_that_loses_its_connection_loses_the_lead_and_writes_nothing(
    our_lookout: Lookout, node: OurNode
) -> None:
    node.mine(3)
    first, second = our_lookout.watcher(), our_lookout.watcher()
    our_lookout.settle(first)
    _end_sessions(our_lookout)
    our_lookout.settle(second)
    node.mine()
    with running(first):
        eventually(lambda: "another watcher" in str(first.fault()), "it waits")
        our_lookout.settle(second)
    assert our_lookout.tip() == our_lookout.node_tip()


def _end_sessions(lookout: Lookout) -> None:
    with connect(lookout.database.superuser_url, application_name="test") as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE application_name = 'wallet-watcher' AND datname = %s",
            (lookout.database.name,),
        )
