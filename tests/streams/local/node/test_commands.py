"""`wallet chain` and `wallet faucet`, by the real command line."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.streams.local.node.play import ALICE
from tests.support.nodes import OurNode, RunningNode


def run(node: RunningNode | None, *arguments: str, network: str = "regtest") -> tuple[int, str]:
    """Exit code, and all that the command says."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith("WALLET")}
    environment |= {"WALLET_NETWORK": network, "COLUMNS": "250"}
    if node is not None:
        endpoint = node.endpoint
        environment["WALLET_NODE_URL"] = endpoint.url
        environment |= {
            "WALLET_NODE_USER": endpoint.user,
            "WALLET_NODE_PASSWORD": endpoint.password,
        }
    done = subprocess.run(
        [sys.executable, "-m", "api.cli", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
        check=False,
    )
    return done.returncode, (done.stdout + done.stderr).strip()


def must(node: RunningNode, *arguments: str) -> str:
    """What a command says that must succeed."""
    code, said = run(node, *arguments)
    assert code == 0, said
    return said


def test_the_faucet_pays_and_the_chain_mines_it(our_node: OurNode) -> None:
    txid = must(our_node, "faucet", ALICE.address, "12.5")
    assert "1 transaction," in must(our_node, "chain", "status")
    (block_hash,) = must(our_node, "chain", "mine").split()
    assert txid in our_node.call("getblock", block_hash)["tx"]
    assert our_node.call("gettxout", txid, 0)["value"] == 12.5


def test_the_chain_reorganises_with_all_its_options(our_node: OurNode) -> None:
    # Ripe coins for each payment, so that the faucet need not mine in between.
    must(our_node, "chain", "mine", "65")
    first = must(our_node, "faucet", ALICE.address, "1")
    second = must(our_node, "faucet", ALICE.address, "2")
    third = must(our_node, "faucet", ALICE.address, "3")
    must(our_node, "chain", "mine", "2", "--to", ALICE.address)
    options = ["--leave-out", first, "--drop", second, "--malleate", third, "--empty", "1"]
    hashes = must(our_node, "chain", "reorg", "2", *options).split()
    assert len(hashes) == 3
    assert our_node.call("getrawmempool") == [first]
    sizes = [len(our_node.call("getblock", each)["tx"]) for each in hashes]
    assert sizes == [1, 2, 1]
    assert "branch" in must(our_node, "chain", "status")


def test_a_node_of_core_reorganises_too(real_node: RunningNode) -> None:
    txid = real_node.fund(ALICE.address, 10**8)
    must(real_node, "chain", "mine", "1", "--to", ALICE.address)
    assert len(must(real_node, "chain", "reorg", "1").split()) == 2
    assert real_node.call("getrawtransaction", txid, True)["confirmations"] == 2
    code, said = run(real_node, "chain", "reorg", "1", "--empty", "1")
    assert (code, "without any options" in said) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("faucet", "D7ReBLrRv12mi9pYh5HtfFLTt1PSoeAa7e", "1"), "address_wrong_network"),
        (("faucet", "nonsense", "1"), "address_malformed"),
        (("faucet", ALICE.address, "0"), "more than zero"),
        (("faucet", ALICE.address, "1e3"), "not an amount"),
        (("chain", "reorg", "999"), "the chain is only"),
        (("chain", "mine", "--to", "nonsense"), "Invalid address"),
        (("chain", "reorg", "1", "--length", "1", "--empty", "2"), "more blocks are to be empty"),
    ],
)
def test_mistakes_are_told_in_one_line(
    our_node: OurNode, arguments: tuple[str, ...], said: str
) -> None:
    code, text = run(our_node, *arguments)
    assert code != 0
    assert said in text
    assert "Traceback" not in text


def test_without_a_node_it_says_what_is_missing() -> None:
    code, said = run(None, "chain", "status")
    assert code == 1
    assert "WALLET_NODE_URL is not set" in said
    code, said = run(None, "faucet", ALICE.address, "1", network="mainnet")
    assert "no faucet on mainnet" in said


def test_a_node_that_is_away_is_told_in_one_line(our_node: OurNode) -> None:
    endpoint = our_node.endpoint
    environment = {"WALLET_NODE_URL": endpoint.url, "WALLET_NODE_USER": "x"}
    our_node.stop()
    done = subprocess.run(
        [sys.executable, "-m", "api.cli", "chain", "status"],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Error: no answer from a node at")
