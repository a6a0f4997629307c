"""The client of a node that answers late, wrong, by half or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from schemas.settings import Settings, SettingsError
from streams.local.process import free_port
from streams.node.answers import Reason, Verdict
from streams.node.client import (
    Endpoint,
    Node,
    NodeAway,
    NodeRefusal,
    NodeUnusable,
    endpoint_of,
)
from streams.node.shapes import header_hash
from tests.streams.node.scripted import Scripted, Server, plain, refusal, result, serving

HASH = "ab" * 32
OTHER = "cd" * 32
OVERLOADED = plain(500, b"Work queue depth exceeded")
WARMING_UP = refusal(-28, "Loading block index...")


def node_at(server: Server, *, timeout_seconds: float = 30.0, patience: float = 30.0) -> Node:
    return Node(
        Endpoint(server.url, "user", "pass"),
        timeout_seconds=timeout_seconds,
        patience_seconds=patience,
        sleep=lambda seconds: None,
    )


def test_a_call_names_its_method_and_parameters_and_who_asks() -> None:
    with serving(result(HASH)) as server:
        assert node_at(server).block_hash(7) == HASH
    assert server.calls == [{"jsonrpc": "1.0", "id": 1, "method": "getblockhash", "params": [7]}]
    assert server.authorizations == ["Basic dXNlcjpwYXNz"]


@pytest.mark.parametrize("trouble", [OVERLOADED, WARMING_UP, plain(503, b"")])
def test_a_node_that_cannot_now_is_asked_again(trouble: Any) -> None:
    with serving(trouble, trouble, result(HASH)) as server:
        assert node_at(server).block_hash(7) == HASH
    assert len(server.calls) == 3


@pytest.mark.parametrize("trouble", [OVERLOADED, WARMING_UP])
def test_a_node_that_still_cannot_counts_as_away(trouble: Any) -> None:
    with serving(trouble) as server, pytest.raises(NodeAway):
        node_at(server, patience=1.0).block_hash(7)
    assert len(server.calls) > 1


def test_a_node_that_nobody_answers_for_counts_as_away() -> None:
    node = Node(Endpoint(f"http://127.0.0.1:{free_port()}"), patience_seconds=0.1)
    with pytest.raises(NodeAway, match="is away"):
        node.chain()


def test_a_wrong_password_is_told_with_the_settings_that_say_it() -> None:
    with (
        serving(plain(401, b"")) as server,
        pytest.raises(NodeAway, match="WALLET_NODE_PASSWORD") as told,
    ):
        node_at(server, patience=0.1).chain()
    assert "pass" not in str(told.value)


def test_a_body_cut_short_is_not_taken_for_an_answer() -> None:
    whole = json.dumps({"result": HASH, "error": None, "id": 1}).encode()
    with serving(plain(200, whole[:40], promised=len(whole))) as server, pytest.raises(NodeAway):
        node_at(server, patience=0.1).block_hash(7)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b'{"result":',
        b"[]",
        b"null",
        b'{"result":null,"error":null,"id":1}',
        b'{"result":"short","error":null,"id":1}',
        b'{"result":17,"error":null,"id":1}',
        b'{"result":"\xff","error":null,"id":1}',
    ],
)
def test_garbage_is_told_as_garbage(body: bytes) -> None:
    with serving(plain(200, body)) as server, pytest.raises(NodeUnusable):
        node_at(server).block_hash(7)


def test_the_answer_to_another_call_is_not_taken() -> None:
    document = json.dumps({"result": HASH, "error": None, "id": 99}).encode()
    with serving(plain(200, document)) as server, pytest.raises(NodeUnusable, match="another"):
        node_at(server).block_hash(7)


def test_an_error_of_the_nodes_own_is_raised_with_its_code() -> None:
    absent = refusal(-32601, "Method not found", 404)
    with serving(absent) as server, pytest.raises(NodeRefusal) as refused:
        node_at(server).chain()
    assert refused.value.code == -32601


def test_what_is_not_there_is_none() -> None:
    with serving(refusal(-8, "Block height out of range")) as server:
        assert node_at(server).block_hash(10**6) is None
    with serving(refusal(-5, "Block not found")) as server:
        assert node_at(server).header(HASH) is None
    with serving(result(None)) as server:
        assert node_at(server).unspent(HASH, 0) is None


def _batch(calls: Any) -> Scripted:
    replies: list[dict[str, Any]] = [
        {"result": HASH, "error": None, "id": calls[0]["id"]},
        {
            "result": None,
            "error": {"code": -8, "message": "Block height out of range"},
            "id": calls[1]["id"],
        },
    ]
    return Scripted(200, json.dumps(replies[::-1]).encode())


def test_a_batch_is_read_by_ids_and_not_by_order() -> None:
    with serving(_batch) as server:
        assert node_at(server).block_hashes([7, 8]) == [HASH, None]
    assert [call["params"] for call in server.calls[0]] == [[7], [8]]


def test_a_batch_that_lacks_an_answer_is_not_taken() -> None:
    def short(calls: Any) -> Scripted:
        return Scripted(
            200, json.dumps([{"result": HASH, "error": None, "id": calls[0]["id"]}]).encode()
        )

    with serving(short) as server, pytest.raises(NodeUnusable, match="not answered"):
        node_at(server).block_hashes([7, 8])


#: Of the block below.
BLOCK = header_hash(
    version=1, previous="00" * 32, merkle_root=OTHER, time=0, bits="207fffff", nonce=0
)


def _block(**changes: object) -> dict[str, object]:
    return {
        "hash": BLOCK,
        "height": 5,
        "confirmations": 1,
        "version": 1,
        "time": 0,
        "merkleroot": OTHER,
        "bits": "207fffff",
        "nonce": 0,
        "previousblockhash": "00" * 32,
        "tx": [{"txid": OTHER, "vin": [{"coinbase": "51"}], "vout": []}],
        **changes,
    }


def test_a_block_is_read() -> None:
    with serving(result(_block())) as server:
        block = node_at(server).block(BLOCK)
    assert (block.height, block.tx[0].txid, block.tx[0].coinbase) == (5, OTHER, True)
    assert server.calls[0]["params"] == [BLOCK, 2]


@pytest.mark.parametrize(
    "changes",
    [
        {"hash": OTHER},
        {"tx": []},
        {"merkleroot": HASH},
        {"time": 1},
        {"height": -1},
        {"height": "5"},
        {"tx": [{"txid": OTHER, "vin": [], "vout": []}]},
        {"tx": [{"txid": OTHER, "vin": [{"coinbase": "51"}]}]},
    ],
)
def test_a_block_that_cannot_be_the_one_asked_for_is_not_taken(changes: dict[str, Any]) -> None:
    with serving(result(_block(**changes))) as server, pytest.raises(NodeUnusable):
        node_at(server).block(BLOCK)


def test_a_broadcast_that_is_taken_gives_the_txid() -> None:
    with serving(result(HASH)) as server:
        assert node_at(server).send(b"\x01\x02") == (Verdict.ACCEPTED, None, HASH)
    assert server.calls[0]["params"] == ["0102"]


def test_a_broadcast_that_is_refused_gives_the_reason() -> None:
    with serving(refusal(-26, "64: dust")) as server:
        assert node_at(server).send(b"\x01") == (Verdict.REFUSED, Reason.DUST, "64: dust")


@pytest.mark.parametrize(
    "trouble",
    [OVERLOADED, plain(200, b"half", promised=100), plain(200, b"<html>"), result(None)],
)
def test_a_broadcast_whose_answer_is_lost_is_unknown(trouble: Any) -> None:
    with serving(trouble) as server:
        assert node_at(server, patience=0.1).send(b"\x01").verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("feerate", "koinu"), [(0.01, 1_000_000), (-1, None), (None, None), (1e-05, 1_000)]
)
def test_a_fee_is_an_estimate_or_nothing(feerate: float | None, koinu: int | None) -> None:
    with serving(result({"feerate": feerate, "blocks": 6})) as server:
        assert node_at(server).fee_rate(6) == koinu
    assert server.calls[0]["params"] == [6]


def test_the_cookie_is_read_for_each_call_since_each_start_writes_another(tmp_path: Path) -> None:
    cookie = tmp_path / ".cookie"
    with serving(result(HASH)) as server:
        node = Node(Endpoint(server.url, cookie=str(cookie)), patience_seconds=0.1)
        with pytest.raises(NodeAway):
            node.block_hash(7)
        for secret in ("one", "two"):
            cookie.write_text(f"__cookie__:{secret}")
            node.block_hash(7)
    assert len(set(server.authorizations)) == 2


def test_settings_say_who_asks_and_the_password_is_not_shown() -> None:
    settings = Settings(node_url="http://a:b%40c@10.0.0.1:22555", node_cookie="/x/.cookie")
    assert endpoint_of(settings) == ("http://10.0.0.1:22555", "a", "b@c", "/x/.cookie")
    settings = Settings(node_url="http://h:1", node_user="u", node_password="secret")
    assert endpoint_of(settings)[:3] == ("http://h:1", "u", "secret")
    assert "secret" not in repr(endpoint_of(settings))


@pytest.mark.parametrize(
    "url",
    [
        "localhost:22555",
        "a:hush@localhost:22555",
        "http://",
        "http://a:hush@h:port",
        "http://a:hush@h:65536",
        "http://a:hush#1@h:22555",
        "http://[::1",
    ],
)
def test_what_is_no_nodes_address_is_refused_by_its_settings_name_and_not_shown(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^WALLET_NODE_URL is not .*http://HOST:PORT") as fault:
        endpoint_of(Settings(node_url=url))
    assert "hush" not in str(fault.value)
