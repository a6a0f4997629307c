"""The same calls to our own node and to real ones: what one answers, the others must, too.

A difference that is known is a strict xfail with its reason, so that it is noticed when it ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Final

import pytest

from processors.dogecoin.hashes import hash160
from processors.dogecoin.scripts import p2sh_script
from streams.local.node.blocks import Block, Carried
from streams.local.node.errors import RpcError
from streams.local.node.malleation import malleated
from streams.local.node.miner import Miner
from streams.local.node.opcodes import push
from streams.local.node.store import Outpoint
from tests.streams.local.node.play import (
    ALICE,
    BOB,
    DOGE,
    FEE,
    REPLACEABLE,
    multisig,
    signature,
    spend,
)
from tests.support.nodes import RunningNode, differs

WORTH: Final = 10 * DOGE
#: Litecoin's own words for what Core 1.14 says otherwise.
OTHER_WORDS: Final = "litecoind 0.21 has other words for it"


def refusal(node: RunningNode, method: str, *parameters: object) -> str:
    """What a call is refused with, as "code text"."""
    with pytest.raises(RpcError) as caught:
        node.call(method, *parameters)
    return f"{caught.value.code} {caught.value.message}"


def paid(node: RunningNode, owner: Miner = ALICE) -> Outpoint:
    """A mined output of ten DOGE to somebody."""
    txid = node.fund(owner.address, WORTH)
    node.mine()
    return txid, 0


def kinds(shape: object) -> object:
    """An answer's keys and the kinds of its values, all the way down; of a list, its first."""
    match shape:
        case Mapping():
            return {key: kinds(value) for key, value in shape.items()}
        case [first, *_]:
            return [kinds(first)]
        case bool() | str() | None:
            return type(shape).__name__
        case int() | float():
            return "number"
        case _:
            return "empty"


def missing(shape: object, wanted: object) -> list[str]:
    """What of ``wanted`` the shape has not, or of another kind; it may have more."""
    if isinstance(wanted, dict):
        if not isinstance(shape, dict):
            return [f"{shape} instead of keys"]
        return [
            f"{key}: {each}"
            for key, value in wanted.items()
            for each in (missing(shape[key], value) if key in shape else ["is not there"])
        ]
    if isinstance(wanted, list) and isinstance(shape, list):
        return missing(shape[0], wanted[0])
    return [] if shape == wanted else [f"{shape} instead of {wanted}"]


SCRIPT: Final = {
    "asm": "str",
    "hex": "str",
    "reqSigs": "number",
    "type": "str",
    "addresses": ["str"],
}
TRANSACTION: Final = {
    "txid": "str",
    "hash": "str",
    "size": "number",
    "vsize": "number",
    "version": "number",
    "locktime": "number",
    "vin": [
        {
            "txid": "str",
            "vout": "number",
            "scriptSig": {"asm": "str", "hex": "str"},
            "sequence": "number",
        }
    ],
    "vout": [{"value": "number", "n": "number", "scriptPubKey": SCRIPT}],
}
HEADER: Final = {
    "hash": "str",
    "confirmations": "number",
    "height": "number",
    "version": "number",
    "versionHex": "str",
    "merkleroot": "str",
    "time": "number",
    "mediantime": "number",
    "nonce": "number",
    "bits": "str",
    "difficulty": "number",
    "chainwork": "str",
    "previousblockhash": "str",
}


def test_blocks_have_the_shapes_that_we_read(any_node: RunningNode) -> None:
    txid, _ = paid(any_node)
    tip = any_node.call("getbestblockhash")
    header = kinds(any_node.call("getblockheader", tip))
    assert missing(header, HEADER) == []
    brief = any_node.call("getblock", tip, 1)
    assert missing(kinds(brief), HEADER | {"tx": ["str"], "size": "number"}) == []
    assert brief["tx"][1] == txid
    full = any_node.call("getblock", tip, 2)
    assert missing(kinds(full), HEADER) == []
    assert missing(kinds(full["tx"][1]), TRANSACTION) == []
    created = full["tx"][0]["vin"][0]
    assert {"coinbase", "sequence"} <= set(created)
    assert "txid" not in created
    assert any_node.call("getblock", tip, True) == brief
    assert "nextblockhash" not in full
    assert "previousblockhash" not in any_node.call("getblock", any_node.genesis)


def test_the_chain_says_how_it_is(any_node: RunningNode) -> None:
    any_node.mine(2)
    info = any_node.call("getblockchaininfo")
    wanted = {
        "chain": "str",
        "blocks": "number",
        "headers": "number",
        "bestblockhash": "str",
        "mediantime": "number",
        "initialblockdownload": "bool",
        "chainwork": "str",
        "pruned": "bool",
    }
    assert missing(kinds(info), wanted) == []
    assert (info["chain"], info["blocks"], info["initialblockdownload"]) == ("regtest", 2, False)
    assert any_node.call("getblockcount") == 2
    assert any_node.call("getblockhash", 2) == info["bestblockhash"]
    assert any_node.call("getblockhash", 0) == any_node.genesis


def test_raw_blocks_are_what_our_own_reader_reads(any_node: RunningNode) -> None:
    paid(any_node)
    tip = any_node.call("getbestblockhash")
    raw = bytes.fromhex(any_node.call("getblock", tip, 0))
    if any_node.name == "litecoind":
        # Its coinbase carries a witness, which no block of Dogecoin does.
        header = raw[:80]
        assert sha256(sha256(header).digest()).digest()[::-1].hex() == tip
        return
    block = Block.parse(raw)
    assert (block.hash, block.root()) == (tip, block.header.merkle_root)
    assert any_node.call("submitblock", raw.hex()) == "duplicate"


def test_outputs_are_there_until_they_are_spent(any_node: RunningNode) -> None:
    outpoint = paid(any_node)
    shape = any_node.call("gettxout", *outpoint)
    wanted = {
        "bestblock": "str",
        "confirmations": "number",
        "value": "number",
        "scriptPubKey": SCRIPT,
        "coinbase": "bool",
    }
    assert missing(kinds(shape), wanted) == []
    assert (shape["confirmations"], shape["value"], shape["coinbase"]) == (1, 10, False)
    any_node.call(
        "sendrawtransaction", spend(ALICE, [outpoint], [(BOB.script, WORTH - FEE)]).raw.hex()
    )
    assert any_node.call("gettxout", *outpoint) is None
    assert any_node.call("gettxout", *outpoint, False)["confirmations"] == 1
    assert any_node.call("gettxout", "ab" * 32, 0) is None


def test_a_transaction_is_shown_alike_in_pool_and_block(any_node: RunningNode) -> None:
    carried = spend(ALICE, [paid(any_node)], [(BOB.script, WORTH - FEE)])
    assert any_node.call("sendrawtransaction", carried.raw.hex()) == carried.txid
    assert any_node.call("getrawtransaction", carried.txid) == carried.raw.hex()
    waiting = any_node.call("getrawtransaction", carried.txid, True)
    assert missing(kinds(waiting), TRANSACTION | {"hex": "str"}) == []
    assert "blockhash" not in waiting
    (block_hash,) = any_node.mine()
    mined = any_node.call("getrawtransaction", carried.txid, True)
    assert (mined["blockhash"], mined["confirmations"]) == (block_hash, 1)
    decoded = any_node.call("decoderawtransaction", carried.raw.hex())
    assert {key: mined[key] for key in decoded} == decoded
    assert decoded["vin"][0]["scriptSig"]["asm"].split()[0].endswith("[ALL]")


def test_what_waits_is_listed_with_its_family(any_node: RunningNode) -> None:
    parent = spend(ALICE, [paid(any_node)], [(BOB.script, WORTH - FEE)])
    child = spend(BOB, [(parent.txid, 0)], [(ALICE.script, WORTH - 2 * FEE)])
    for carried in (parent, child):
        any_node.call("sendrawtransaction", carried.raw.hex())
    assert set(any_node.call("getrawmempool")) == {parent.txid, child.txid}
    assert set(any_node.call("getrawmempool", True)) == {parent.txid, child.txid}
    assert any_node.call("getmempoolancestors", child.txid) == [parent.txid]
    assert any_node.call("getmempooldescendants", parent.txid) == [child.txid]
    entry = any_node.call("getmempoolentry", child.txid)
    assert (entry["ancestorcount"], entry["descendantcount"]) == (2, 1)
    assert entry["depends"] == [parent.txid]
    assert entry["ancestorsize"] == len(parent.raw) + len(child.raw)
    info = any_node.call("getmempoolinfo")
    assert (info["size"], info["bytes"]) == (2, len(parent.raw) + len(child.raw))


@pytest.mark.parametrize("kind", ["P2PKH", "P2PK", "multisig", "P2SH"])
def test_our_scripts_and_signatures_are_taken(any_node: RunningNode, kind: str) -> None:
    """Paid to a script of each kind, and spent again: both engines must agree with us."""
    inner = multisig(2, ALICE, BOB)
    script = {
        "P2PKH": ALICE.script,
        "P2PK": push(ALICE.public_key) + b"\xac",
        "multisig": inner,
        "P2SH": p2sh_script(hash160(inner)),
    }[kind]
    carried = spend(ALICE, [paid(any_node)], [(script, WORTH - FEE)])
    any_node.call("sendrawtransaction", carried.raw.hex())
    any_node.mine()
    bare = spend(ALICE, [(carried.txid, 0)], [(BOB.script, WORTH - 2 * FEE)])
    if kind != "P2PKH":
        code = inner if kind in ("multisig", "P2SH") else script
        unsigned = with_script_sig(bare, b"")
        owners = [ALICE] if kind == "P2PK" else [ALICE, BOB]
        signatures = b"".join(push(signature(each, code, unsigned.body)) for each in owners)
        tail = push(inner) if kind == "P2SH" else b""
        bare = with_script_sig(bare, (b"" if kind == "P2PK" else b"\x00") + signatures + tail)
    any_node.call("sendrawtransaction", bare.raw.hex())
    any_node.mine()
    assert any_node.call("gettxout", bare.txid, 0)["confirmations"] == 1


def with_script_sig(carried: Carried, script_sig: bytes) -> Carried:
    """The same transaction with another script in its only input."""
    inputs = (carried.body.inputs[0]._replace(script_sig=script_sig),)
    return Carried.of(replace(carried.body, inputs=inputs))


# sendrawtransaction, case by case: facts of design 6


def test_sent_again_it_is_welcome_and_mined_it_is_there(
    any_node: RunningNode, request: pytest.FixtureRequest
) -> None:
    carried = spend(ALICE, [paid(any_node)], [(BOB.script, WORTH - FEE)])
    for _ in range(2):
        assert any_node.call("sendrawtransaction", carried.raw.hex()) == carried.txid
    any_node.mine()
    said = refusal(any_node, "sendrawtransaction", carried.raw.hex())
    assert said.lower() == "-27 transaction already in block chain"
    differs(request, any_node, litecoind="it writes Transaction with a capital T")
    assert said == "-27 transaction already in block chain"


def test_mined_and_spent_it_looks_like_a_failure(
    any_node: RunningNode, request: pytest.FixtureRequest
) -> None:
    carried = spend(ALICE, [paid(any_node)], [(BOB.script, WORTH - FEE)])
    after = spend(BOB, [(carried.txid, 0)], [(BOB.script, WORTH - 2 * FEE)])
    for each in (carried, after):
        any_node.call("sendrawtransaction", each.raw.hex())
    any_node.mine()
    said = refusal(any_node, "sendrawtransaction", carried.raw.hex())
    assert said.startswith(("-25 ", "-26 "))
    differs(request, any_node, litecoind=OTHER_WORDS)
    # The change of what paid Alice is unspent, so its transaction is known.
    assert said == "-26 18: bad-txns-inputs-spent"


def test_unknown_inputs_are_missing(any_node: RunningNode, request: pytest.FixtureRequest) -> None:
    carried = spend(ALICE, [("ab" * 32, 0)], [(BOB.script, DOGE)])
    said = refusal(any_node, "sendrawtransaction", carried.raw.hex())
    assert said.startswith("-25 ")
    differs(request, any_node, litecoind=OTHER_WORDS)
    assert said == "-25 Missing inputs"


def test_a_conflict_that_may_not_be_replaced_is_refused(
    any_node: RunningNode, request: pytest.FixtureRequest
) -> None:
    outpoint = paid(any_node)
    first = spend(ALICE, [outpoint], [(BOB.script, WORTH - FEE)])
    second = spend(ALICE, [outpoint], [(BOB.script, WORTH - 3 * FEE)])
    any_node.call("sendrawtransaction", first.raw.hex())
    said = refusal(any_node, "sendrawtransaction", second.raw.hex())
    assert said.startswith("-26 ")
    assert said.endswith("txn-mempool-conflict")
    differs(request, any_node, litecoind="it leaves out the number before the reason")
    assert said == "-26 258: txn-mempool-conflict"


def test_a_better_one_replaces_one_that_allows_it(any_node: RunningNode) -> None:
    outpoint = paid(any_node)
    first, second = (
        spend(ALICE, [outpoint], [(BOB.script, WORTH - fee)], sequence=REPLACEABLE)
        # Litecoin takes a rate of more than 0.1 a kB for a mistake.
        for fee in (FEE, FEE * 3 // 2)
    )
    any_node.call("sendrawtransaction", first.raw.hex())
    any_node.call("sendrawtransaction", second.raw.hex())
    assert any_node.call("getrawmempool") == [second.txid]
    assert "insufficient fee" in refusal(any_node, "sendrawtransaction", first.raw.hex())


def test_too_small_a_fee_is_refused(any_node: RunningNode, request: pytest.FixtureRequest) -> None:
    carried = spend(ALICE, [paid(any_node)], [(BOB.script, WORTH - 10)])
    said = refusal(any_node, "sendrawtransaction", carried.raw.hex())
    assert said.startswith("-26 ")
    differs(request, any_node, litecoind=OTHER_WORDS)
    assert said == "-26 66: insufficient priority"


def test_dust_is_refused(any_node: RunningNode, request: pytest.FixtureRequest) -> None:
    outputs = [(BOB.script, 1_000), (ALICE.script, WORTH - FEE)]
    carried = spend(ALICE, [paid(any_node)], outputs)
    said = refusal(any_node, "sendrawtransaction", carried.raw.hex())
    assert (said.split()[0], said.split()[-1]) == ("-26", "dust")
    differs(request, any_node, litecoind="it leaves out the number before the reason")
    assert said == "-26 64: dust"


def test_dogecoins_dust_is_refused(any_node: RunningNode, request: pytest.FixtureRequest) -> None:
    differs(request, any_node, litecoind="its dust is some 5,000 times smaller")
    outputs = [(BOB.script, 99_999), (ALICE.script, WORTH - FEE)]
    carried = spend(ALICE, [paid(any_node)], outputs)
    assert refusal(any_node, "sendrawtransaction", carried.raw.hex()) == "-26 64: dust"


@pytest.mark.parametrize("how", ["wrong", "malleated"])
def test_bad_signatures_are_refused(any_node: RunningNode, how: str) -> None:
    outpoint = paid(any_node)
    right = spend(ALICE, [outpoint], [(BOB.script, WORTH - FEE)])
    if how == "malleated":
        said = refusal(any_node, "sendrawtransaction", malleated(right).raw.hex())
        assert "non-mandatory-script-verify-flag" in said
        assert "Non-canonical signature: S value is unnecessarily high" in said
    else:
        stolen = spend(ALICE, [outpoint], [(ALICE.script, WORTH - FEE)])
        forged = with_script_sig(right, stolen.body.inputs[0].script_sig)
        said = refusal(any_node, "sendrawtransaction", forged.raw.hex())
        assert "mandatory-script-verify-flag-failed" in said
        assert "Signature must be zero for failed CHECK(MULTI)SIG operation" in said
    assert said.startswith("-26 ")


def test_new_coins_cannot_be_spent_at_once(any_node: RunningNode) -> None:
    (block_hash,) = any_node.call("generatetoaddress", 1, ALICE.address)
    reward = any_node.call("getblock", block_hash)["tx"][0]
    carried = spend(ALICE, [(reward, 0)], [(BOB.script, DOGE)])
    said = refusal(any_node, "sendrawtransaction", carried.raw.hex())
    assert said.startswith("-26 ")


def test_a_line_of_more_than_twenty_five_is_refused(any_node: RunningNode) -> None:
    outpoint = paid(any_node)
    for step in range(1, 27):
        carried = spend(ALICE, [outpoint], [(ALICE.script, WORTH - step * FEE)])
        outpoint = (carried.txid, 0)
        if step <= 25:
            any_node.call("sendrawtransaction", carried.raw.hex())
    said = refusal(any_node, "sendrawtransaction", carried.raw.hex())
    assert said.startswith("-26 ")
    assert "too-long-mempool-chain" in said


@pytest.mark.parametrize("text", ["zz", "00", "beef"])
def test_what_is_no_transaction_is_not_decoded(any_node: RunningNode, text: str) -> None:
    assert refusal(any_node, "sendrawtransaction", text).startswith("-22 TX decode failed")


@pytest.mark.parametrize(
    ("method", "parameters", "said"),
    [
        ("getblock", ("ab" * 32,), "-5 Block not found"),
        ("getblockheader", ("ab" * 32,), "-5 Block not found"),
        ("getblockhash", (999,), "-8 Block height out of range"),
        ("getmempoolentry", ("ab" * 32,), "-5 Transaction not in mempool"),
        ("getrawtransaction", ("ab" * 32,), "-5 No such mempool or blockchain transaction"),
        ("invalidateblock", ("ab" * 32,), "-5 Block not found"),
        ("no_such_call", (), "-32601 Method not found"),
    ],
)
def test_what_is_not_there_is_told_alike(
    any_node: RunningNode, method: str, parameters: tuple[object, ...], said: str
) -> None:
    assert refusal(any_node, method, *parameters).startswith(said)


@pytest.mark.parametrize("method", ["testmempoolaccept", "scantxoutset"])
def test_what_core_lacks_is_lacking(
    any_node: RunningNode, request: pytest.FixtureRequest, method: str
) -> None:
    differs(request, any_node, litecoind="it is younger than Core 1.14, and has them")
    assert refusal(any_node, method, []) == "-32601 Method not found"


def test_addresses_of_the_network_are_valid(any_node: RunningNode) -> None:
    right = any_node.call("validateaddress", ALICE.address)
    assert (right["isvalid"], right["scriptPubKey"]) == (True, ALICE.script.hex())
    wrong = any_node.call("validateaddress", "DBus3bamQjgJULBJtYXpEzDWQRwF5iwxgC")
    assert wrong["isvalid"] is False


def test_fees_are_unknown_on_a_new_chain(
    any_node: RunningNode, request: pytest.FixtureRequest
) -> None:
    differs(request, any_node, litecoind="it names errors instead of a rate of -1")
    assert any_node.call("estimatesmartfee", 6)["feerate"] == -1


# The chain turns


def test_a_stale_block_is_kept_and_its_payment_waits_or_is_mined_anew(
    any_node: RunningNode,
) -> None:
    txid, _ = paid(any_node)
    stale = any_node.call("getbestblockhash")
    before = any_node.call("getblockheader", stale)["previousblockhash"]
    made = any_node.reorganise(1, empty=True)
    header = any_node.call("getblockheader", stale)
    assert (header["confirmations"], header["previousblockhash"]) == (-1, before)
    assert any_node.call("getblock", stale, 2)["confirmations"] == -1
    assert any_node.call("getblockheader", made[0])["previousblockhash"] == before
    assert any_node.call("getrawmempool") == [txid]
    assert any_node.call("gettxout", txid, 0, False) is None
    (again,) = any_node.mine()
    assert any_node.call("getrawtransaction", txid, True)["blockhash"] == again


def test_a_block_can_be_taken_back(any_node: RunningNode) -> None:
    hashes = any_node.mine(3)
    any_node.call("invalidateblock", hashes[1])
    assert any_node.call("getbestblockhash") == hashes[0]
    tips = {tip["hash"]: tip["status"] for tip in any_node.call("getchaintips")}
    assert tips == {hashes[0]: "active", hashes[2]: "invalid"}
    any_node.call("reconsiderblock", hashes[2])
    assert any_node.call("getbestblockhash") == hashes[2]


def test_time_can_be_set_and_ends_what_waits_for_a_day(any_node: RunningNode) -> None:
    txid = any_node.fund(ALICE.address, WORTH)
    now = any_node.call("getmempoolentry", txid)["time"]
    any_node.call("setmocktime", now + 24 * 3600 + 10)
    # Core looks when something new comes.
    other = any_node.fund(BOB.address, WORTH)
    assert any_node.call("getrawmempool") == [other]
