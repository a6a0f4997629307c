"""The node as a process: it starts quickly, survives kills, and mines by itself."""

from __future__ import annotations

import itertools
import os
import random
import signal
import threading
from pathlib import Path
from typing import Final

import pytest

from streams.local.errors import PortTaken
from streams.local.node.caller import NodeUnreachable
from streams.local.node.embedded import EmbeddedNode
from streams.local.node.errors import RpcError
from streams.local.process import free_port
from tests.streams.local.node.play import ALICE, BOB
from tests.support.eventually import eventually
from tests.support.nodes import OurNode

SEED: Final = 20261130


def kill(node: OurNode) -> None:
    """kill -9, and wait for the end."""
    os.kill(node.pid, signal.SIGKILL)
    eventually(lambda: not node.embedded.alive(), "the node is dead")


def test_chain_and_mempool_survive_a_kill(our_node: OurNode) -> None:
    first = our_node.call("wallet_faucet", ALICE.address, "10")
    our_node.mine(2)
    second = our_node.call("wallet_faucet", BOB.address, "5")
    before = our_node.call("getblockchaininfo")
    entry = our_node.call("getmempoolentry", second)
    kill(our_node)
    our_node.start()
    assert our_node.call("getblockchaininfo") == before
    assert our_node.call("getmempoolentry", second) == entry
    assert our_node.call("gettxout", first, 0)["value"] == 10
    our_node.mine()
    assert our_node.call("getrawmempool") == []


def test_a_kill_at_any_moment_leaves_a_chain_that_goes_on(our_node: OurNode) -> None:
    print(f"seed {SEED}")
    chance = random.Random(SEED)
    our_node.fund(ALICE.address, 10**8)
    for _ in range(4):
        upheaval = threading.Thread(target=stir, args=(our_node, chance.randrange(10**6)))
        upheaval.start()
        threading.Event().wait(chance.uniform(0.0, 0.3))
        kill(our_node)
        upheaval.join()
        our_node.start()
        check_whole(our_node)


def stir(node: OurNode, seed: int) -> None:
    """Mine, pay and reorganise until the node is gone."""
    chance = random.Random(seed)
    try:
        while True:
            node.fund(BOB.address, 10**8)
            node.mine(chance.randrange(3))
            node.reorganise(chance.randrange(1, 4), empty=chance.random() < 0.5)
    except (NodeUnreachable, RpcError):
        return


def check_whole(node: OurNode) -> None:
    """Every block follows its predecessor, and every block's coins are where they belong."""
    height = node.call("getblockcount")
    hashes = [node.call("getblockhash", at) for at in range(height, max(height - 20, 0), -1)]
    for here, before in itertools.pairwise(hashes):
        assert node.call("getblockheader", here)["previousblockhash"] == before
    assert node.call("getbestblockhash") == hashes[0]
    newest = node.call("getblock", hashes[0], 2)
    assert node.call("gettxout", newest["tx"][0]["txid"], 0)["confirmations"] == 1
    node.mine()


def test_blocks_come_by_themselves_until_the_node_is_stuck(tmp_path: Path) -> None:
    node = OurNode(tmp_path, block_seconds=0.02)
    node.start()
    try:
        eventually(lambda: node.call("getblockcount") > 3, "blocks come")
        node.call("wallet_stuck", True)
        node.mine()
        height = node.call("getblockcount")
        threading.Event().wait(0.2)
        # One may have been under way.
        assert node.call("getblockcount") <= height + 1
        node.call("wallet_stuck", False)
        eventually(lambda: node.call("getblockcount") > height + 3, "they come again")
    finally:
        node.stop()


def test_it_starts_within_seconds_and_ends_when_asked(our_node: OurNode) -> None:
    our_node.call("stop")
    eventually(lambda: not our_node.embedded.alive(), "it ended")


def test_its_cookie_is_private_and_new_each_time(our_node: OurNode) -> None:
    cookie = our_node.embedded.cookie
    assert cookie.stat().st_mode & 0o777 == 0o600
    before = cookie.read_text()
    our_node.start()
    assert cookie.read_text() != before
    assert before.startswith("__cookie__:")


def test_a_taken_port_is_told_in_one_line(our_node: OurNode, tmp_path: Path) -> None:
    second = EmbeddedNode(tmp_path / "second", port=our_node.embedded.port)
    with pytest.raises(PortTaken, match="--node-port"):
        second.start()


def test_a_node_whose_supervisor_was_killed_is_taken_over(our_node: OurNode) -> None:
    pid = our_node.pid
    home = our_node.embedded.cookie.parent.parent
    heir = EmbeddedNode(home, port=free_port())
    heir.start()
    try:
        assert heir.pid != pid
        eventually(lambda: not our_node.embedded.alive(), "the first one ended")
        assert heir.caller().call("getblockcount") == 0
    finally:
        heir.stop()
    assert not heir.alive()
