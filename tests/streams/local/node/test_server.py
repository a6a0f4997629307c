"""The wire: what a client of Core meets, and every way in which the node can be told to fail."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from streams.local.node.caller import Caller, NodeUnreachable
from streams.local.node.errors import RpcError
from streams.local.node.node import Node
from streams.local.node.server import QUEUE, THREADS, NodeServer
from tests.streams.local.node.play import ALICE, DOGE, payment
from tests.support.eventually import eventually

CREDENTIALS = "user:pass word"


@pytest.fixture
def server(node: Node) -> Iterator[NodeServer]:
    """The node on a port, served by a thread."""
    server = NodeServer(node, port=0, credentials=CREDENTIALS)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.stop_asked.set()
    server.server_close()


@pytest.fixture
def caller(server: NodeServer) -> Caller:
    """Somebody who knows the password."""
    return Caller(server.address, CREDENTIALS)


@pytest.fixture
def hasty(server: NodeServer) -> Caller:
    """The same with little patience, for a call whose answer never comes."""
    return Caller(server.address, CREDENTIALS, timeout_seconds=0.2)


def refusal(caller: Caller, method: str, *parameters: object) -> str:
    """What a call is refused with, as "code text"."""
    with pytest.raises(RpcError) as caught:
        caller.call(method, *parameters)
    return f"{caught.value.code} {caught.value.message}"


def post(caller: Caller, value: object) -> tuple[int, Any]:
    """Status and decoded body of one request."""
    status, body = caller.post(msgspec.json.encode(value))
    return status, msgspec.json.decode(body)


def connected(server: NodeServer) -> http.client.HTTPConnection:
    """A bare connection."""
    return http.client.HTTPConnection("127.0.0.1", int(server.server_address[1]))


def test_an_answer_has_result_error_and_id(caller: Caller, node: Node) -> None:
    assert post(caller, {"id": "x", "method": "getblockcount"}) == (
        200,
        {"result": node.chain.height, "error": None, "id": "x"},
    )


@pytest.mark.parametrize("method", ["testmempoolaccept", "scantxoutset", "getindexinfo"])
def test_calls_that_core_lacks_are_lacking(caller: Caller, method: str) -> None:
    status, answer = post(caller, {"id": 1, "method": method, "params": []})
    assert (status, answer["error"]) == (404, {"code": -32601, "message": "Method not found"})


@pytest.mark.parametrize(
    ("request_value", "code", "message"),
    [
        ({"id": 1}, -32600, "Missing method"),
        ({"id": 1, "method": 5}, -32600, "Method must be a string"),
        (
            {"id": 1, "method": "getblockcount", "params": "x"},
            -32600,
            "Params must be an array or object",
        ),
        (7, -32700, "Top-level object parse error"),
    ],
)
def test_requests_of_the_wrong_form_are_told_so(
    caller: Caller, request_value: object, code: int, message: str
) -> None:
    status, answer = post(caller, request_value)
    assert answer["error"] == {"code": code, "message": message}
    assert status == (400 if code == -32600 else 500)


def test_what_is_not_json_is_a_parse_error(caller: Caller) -> None:
    status, body = caller.post(b"{")
    assert status == 500
    assert msgspec.json.decode(body)["error"] == {"code": -32700, "message": "Parse error"}


def test_a_batch_is_answered_one_by_one_with_200(caller: Caller, node: Node) -> None:
    status, answers = post(
        caller,
        [
            {"id": 1, "method": "getblockcount"},
            {"id": 2, "method": "nothing"},
            {"id": 3, "method": "getblockhash", "params": [10**6]},
            5,
        ],
    )
    assert status == 200
    assert answers[0] == {"result": node.chain.height, "error": None, "id": 1}
    assert [each["error"]["code"] for each in answers[1:]] == [-32601, -8, -32600]
    assert post(caller, []) == (200, [])


def test_arguments_may_be_named(caller: Caller, node: Node) -> None:
    named = {"id": 1, "method": "getblock", "params": {"verbosity": 1, "blockhash": node.chain.tip}}
    assert post(caller, named)[1]["result"]["height"] == node.chain.height
    named["params"] = {"hash": node.chain.tip}
    assert post(caller, named)[1]["error"] == {
        "code": -8,
        "message": "Unknown named parameter hash",
    }


def test_arguments_are_counted_and_looked_at(caller: Caller, node: Node) -> None:
    assert refusal(caller, "getblockhash") == "-1 getblockhash height"
    assert refusal(caller, "getrawtransaction", "ab" * 32, 1, node.chain.tip).startswith("-1 ")
    assert refusal(caller, "getblockhash", "1") == "-1 JSON value is not an integer as expected"
    assert refusal(caller, "getblock", 1) == "-1 JSON value is not a string as expected"
    assert refusal(caller, "sendrawtransaction", 1).startswith("-3 Expected type string")
    assert refusal(caller, "sendrawtransaction", payment(node, DOGE).raw.hex(), 0.1).startswith(
        "-3 Expected type bool"
    )


def test_what_is_not_there_is_told_in_cores_words(caller: Caller) -> None:
    nothing = "ab" * 32
    assert refusal(caller, "getblock", nothing) == "-5 Block not found"
    assert refusal(caller, "getblockheader", nothing) == "-5 Block not found"
    assert refusal(caller, "getblockhash", -1) == "-8 Block height out of range"
    assert refusal(caller, "getmempoolentry", nothing) == "-5 Transaction not in mempool"
    assert refusal(caller, "getrawtransaction", nothing).startswith("-5 No such mempool or ")
    assert refusal(caller, "getrawtransaction", "xyz") == (
        "-8 parameter 1 must be hexadecimal string (not 'xyz')"
    )
    assert refusal(caller, "generatetoaddress", 1, "nowhere") == "-5 Error: Invalid address"
    assert caller.call("gettxout", nothing, 0) is None


def test_amounts_are_numbers_with_eight_decimals(caller: Caller, node: Node) -> None:
    txid = node.send(payment(node, 12_50000000))
    body = msgspec.json.encode({"id": 1, "method": "getrawtransaction", "params": [txid, 1]})
    _, answer = caller.post(body)
    assert b'"value":12.50000000,' in answer


def test_wrong_passwords_and_none_are_refused(server: NodeServer) -> None:
    with pytest.raises(NodeUnreachable, match="refuses the user or password"):
        Caller(server.address, "user:wrong").call("getblockcount")
    connection = connected(server)
    connection.request("POST", "/", b"{}")
    answer = connection.getresponse()
    assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, 'Basic realm="jsonrpc"')
    connection.close()


def test_only_posts_are_answered(server: NodeServer) -> None:
    connection = connected(server)
    connection.request("GET", "/")
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (405, b"JSONRPC server handles only POST requests")
    connection.close()


def test_one_connection_serves_many_calls(server: NodeServer, caller: Caller) -> None:
    connection = connected(server)
    headers = {"Authorization": "Basic " + "dXNlcjpwYXNzIHdvcmQ="}
    for _ in range(3):
        connection.request("POST", "/", b'{"id": 1, "method": "getblockcount"}', headers)
        assert connection.getresponse().read().startswith(b'{"result":')
    connection.close()


def test_more_callers_than_the_queue_holds_are_told_in_plain_text(
    server: NodeServer, node: Node
) -> None:
    answers: list[tuple[int, bytes]] = []
    over = 7

    def ask() -> None:
        caller = Caller(server.address, CREDENTIALS)
        answers.append(caller.post(b'{"id": 1, "method": "getblockcount"}'))

    threads = [threading.Thread(target=ask) for _ in range(THREADS + QUEUE + over)]
    with node.lock:
        for thread in threads:
            thread.start()
        eventually(lambda: len(answers) == over, "those beyond the queue are answered")
        assert answers == [(500, b"Work queue depth exceeded")] * over
    for thread in threads:
        thread.join()
    assert [status for status, _ in answers[over:]] == [200] * (THREADS + QUEUE)


# Faults


def fault(caller: Caller, kind: str, method: str = "*", **options: object) -> None:
    """Tell the node to fail."""
    caller.call("wallet_fault", {"kind": kind, "method": method, **options})


def test_a_fault_hits_its_method_for_so_many_times(caller: Caller) -> None:
    fault(caller, "error", "getblockcount", times=2, skip=1, code=-5, message="odd")
    caller.call("getblockcount")
    caller.call("getbestblockhash")
    assert len(caller.call("wallet_fault")) == 1
    assert [refusal(caller, "getblockcount") for _ in range(2)] == ["-5 odd"] * 2
    caller.call("getblockcount")
    assert caller.call("wallet_fault") == []


def test_a_fault_for_ever_ends_when_the_node_is_told_to_behave(caller: Caller) -> None:
    fault(caller, "warming_up", times=0)
    for _ in range(3):
        assert refusal(caller, "getblockcount") == "-28 Loading block index..."
    caller.call("wallet_behave")
    caller.call("getblockcount")


@pytest.mark.parametrize("kind", ["time_out", "lost"])
def test_a_transaction_is_taken_and_the_answer_never_comes(
    caller: Caller, hasty: Caller, node: Node, kind: str
) -> None:
    carried = payment(node, DOGE)
    fault(caller, kind, "sendrawtransaction")
    with pytest.raises(NodeUnreachable):
        hasty.call("sendrawtransaction", carried.raw.hex())
    eventually(lambda: carried.txid in node.pool.entries, "it waits")
    assert caller.call("sendrawtransaction", carried.raw.hex()) == carried.txid


def test_a_call_is_not_heard_at_all(caller: Caller, node: Node) -> None:
    fault(caller, "unheard", "sendrawtransaction")
    with pytest.raises(NodeUnreachable):
        caller.call("sendrawtransaction", payment(node, DOGE).raw.hex())
    assert not node.pool.entries


@pytest.mark.parametrize("code", [-25, -26, -27])
@pytest.mark.parametrize(("kind", "waits"), [("error", False), ("late_error", True)])
def test_a_refusal_may_be_a_lie(
    caller: Caller, node: Node, code: int, kind: str, waits: bool
) -> None:
    carried = payment(node, DOGE)
    fault(caller, kind, "sendrawtransaction", code=code, message="so it says")
    assert refusal(caller, "sendrawtransaction", carried.raw.hex()) == f"{code} so it says"
    assert (carried.txid in node.pool.entries) == waits


def test_overload_and_garbage_are_not_json(caller: Caller) -> None:
    fault(caller, "overload")
    assert caller.post(b'{"id":1,"method":"getblockcount"}') == (500, b"Work queue depth exceeded")
    fault(caller, "garbage")
    status, body = caller.post(b'{"id":1,"method":"getblockcount"}')
    assert status == 200
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(body)


def test_half_an_answer_ends_before_its_announced_length(caller: Caller) -> None:
    fault(caller, "half", "getblockchaininfo")
    with pytest.raises(NodeUnreachable, match="IncompleteRead"):
        caller.call("getblockchaininfo")
    caller.call("getblockchaininfo")


def test_heights_may_be_lies(caller: Caller, node: Node) -> None:
    fault(caller, "height_lie", times=3, value=-2)
    height = node.chain.height
    assert caller.call("getblockcount") == height - 2
    assert caller.call("getblockchaininfo")["blocks"] == height - 2
    assert caller.call("getblock", node.chain.tip)["height"] == height - 2
    assert caller.call("getblockcount") == height


def test_an_answer_may_come_again_or_be_made_up(caller: Caller, node: Node) -> None:
    first = caller.call("getblock", node.store.hash_at(3))
    fault(caller, "repeat", "getblock")
    assert caller.call("getblock", node.chain.tip) == first
    fault(caller, "answer", "getblock", value={"hash": "made up"})
    assert caller.call("getblock", node.chain.tip) == {"hash": "made up"}


def test_a_fault_that_is_none_is_refused(caller: Caller) -> None:
    assert refusal(caller, "wallet_fault", {"kind": "sulk"}).startswith("-8 ")
    assert refusal(caller, "wallet_fault", {"kind": "lost", "methods": "x"}).startswith("-8 ")
    assert refusal(caller, "wallet_reorganise", {"depth": 10**6}).startswith("-8 ")


# Upheavals by call


def test_a_branch_is_made_as_wished(caller: Caller, node: Node) -> None:
    txid = caller.call("wallet_faucet", ALICE.address, "2.5")
    (stale,) = caller.call("generate", 1)
    made = caller.call("wallet_reorganise", {"depth": 1, "empty": 2})
    assert caller.call("getrawmempool") == [txid]
    shape = caller.call("getblockheader", stale)
    assert shape["confirmations"] == -1
    assert "nextblockhash" not in shape
    assert caller.call("getblockheader", made[0])["nextblockhash"] == made[1]
    found = caller.call("getrawtransaction", txid, True)
    assert "blockhash" not in found, "the mempool comes first"
    tips = caller.call("getchaintips")
    assert [(tip["status"], tip["branchlen"]) for tip in tips] == [("active", 0), ("valid-fork", 1)]


def test_a_transaction_of_a_stale_block_alone_comes_back_with_no_confirmation(
    caller: Caller,
) -> None:
    txid = caller.call("wallet_faucet", ALICE.address, "2.5")
    (stale,) = caller.call("generate", 1)
    caller.call("wallet_reorganise", {"depth": 1, "drop": [txid]})
    shape = caller.call("getrawtransaction", txid, True)
    assert (shape["blockhash"], shape["confirmations"]) == (stale, 0)


def test_blocks_and_the_pool_are_handled_by_call(caller: Caller, node: Node) -> None:
    txid = caller.call("wallet_faucet", ALICE.address, "2.5")
    assert caller.call("wallet_hold", txid) == [txid]
    caller.call("generate", 1)
    assert caller.call("getrawmempool") == [txid]
    assert caller.call("wallet_hold", txid, False) == []
    block = caller.call("getblock", caller.call("wallet_mine", {"malleate": [txid]}))
    assert len(block["tx"]) == 2
    assert txid not in block["tx"]
    other = caller.call("wallet_faucet", ALICE.address, "1")
    assert caller.call("wallet_drop", other) == [other]
    assert refusal(caller, "wallet_drop", other) == "-5 Transaction not in mempool"
    assert refusal(caller, "wallet_mine", {"txids": [other]}).startswith("-1 not in the mempool")
    assert refusal(caller, "wallet_reorganise", {"depth": 9_999}).startswith("-1 the chain is only")


def test_a_node_says_that_it_downloads(caller: Caller) -> None:
    caller.call("wallet_downloading", True)
    assert caller.call("getblockchaininfo")["initialblockdownload"] is True
    caller.call("wallet_behave")
    assert caller.call("getblockchaininfo")["initialblockdownload"] is False


def test_one_node_takes_the_blocks_of_another(caller: Caller, node: Node) -> None:
    other = Node(None, node.rules)
    for height in range(1, node.chain.height + 1):
        block_hash = caller.call("getblockhash", height)
        raw = caller.call("getblock", block_hash, 0)
        other.submit(type(node.store.block(block_hash)).parse(bytes.fromhex(raw)))
    assert other.chain.tip == node.chain.tip
    assert caller.call("submitblock", raw) == "duplicate"
    assert refusal(caller, "submitblock", "00") == "-22 Block decode failed"
    other.close()


def test_fees_cannot_be_estimated_here(caller: Caller) -> None:
    assert caller.call("estimatesmartfee", 6) == {"feerate": -1, "blocks": 6}
    assert caller.call("estimatefee", 1) == -1
    assert refusal(caller, "estimatesmartfee", 6, "CONSERVATIVE").startswith("-1 ")


def test_addresses_are_told_from_others(caller: Caller) -> None:
    right = caller.call("validateaddress", ALICE.address)
    assert (right["isvalid"], right["scriptPubKey"]) == (True, ALICE.script.hex())
    for wrong in ("D7ReBLrRv12mi9pYh5HtfFLTt1PSoeAa7e", ALICE.address[:-1], "x"):
        assert caller.call("validateaddress", wrong) == {"isvalid": False}


def test_stop_ends_the_server(server: NodeServer, caller: Caller) -> None:
    assert caller.call("stop") == "Dogecoin server stopping"
    assert server.stop_asked.is_set()
