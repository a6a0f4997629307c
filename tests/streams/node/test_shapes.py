"""Amounts as nodes write them, to the koinu, and blocks that came whole."""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.dogecoin.transactions import MONEY_MAX
from schemas.amounts import format_amount
from streams.node.shapes import (
    AmountUnreadable,
    BlockShape,
    OutputShape,
    header_hash,
    koinu_of,
)


@given(st.integers(0, MONEY_MAX))
def test_every_amount_that_a_node_can_write_is_read_to_the_koinu(koinu: int) -> None:
    assert koinu_of(format_amount(koinu)) == koinu
    document = f'{{"value":{format_amount(koinu)},"n":0,"scriptPubKey":{{"hex":"51"}}}}'
    assert msgspec.json.decode(document.encode(), type=OutputShape).amount == koinu


@pytest.mark.parametrize(
    ("text", "koinu"),
    [
        ("0", 0),
        ("0.00000001", 1),
        ("1e-8", 1),
        ("1E-08", 1),
        ("1.5", 150_000_000),
        ("1.500000000", 150_000_000),
        ("9999999999.99999999", 999_999_999_999_999_999),
        ("1e10", MONEY_MAX),
    ],
)
def test_an_amount_is_exact(text: str, koinu: int) -> None:
    assert koinu_of(text) == koinu


@pytest.mark.parametrize(
    "text",
    ["", "-1", "0.000000001", "1e-9", "1e11", "NaN", "Infinity", '"1"', "1e999999", "1,5", "true"],
)
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(AmountUnreadable):
        koinu_of(text)


HEADER: Final[dict[str, Any]] = {"version": 1, "time": 0, "bits": "207fffff", "nonce": 0}


def _block(count: int, merkleroot: str, **header: Any) -> BlockShape:
    """A block with so many transactions; its name is its header's, unless told."""
    said = HEADER | header
    previous = said.get("previousblockhash", "00" * 32)
    parts = {name: said[name] for name in HEADER}
    name = header_hash(previous=previous, merkle_root=merkleroot, **parts)
    transaction = {"vin": [{"coinbase": "00"}], "vout": []}
    return msgspec.json.decode(
        json.dumps(
            {
                "hash": name,
                "height": 5,
                "confirmations": 1,
                "merkleroot": merkleroot,
                "tx": [{**transaction, "txid": f"{number:064x}"} for number in range(count)],
                **said,
            }
        ),
        type=BlockShape,
    )


def test_a_block_of_one_transaction_has_its_txid_for_a_root() -> None:
    assert _block(1, "0" * 64).is_whole()
    assert not _block(1, "11" * 32).is_whole()


@pytest.mark.parametrize(
    "lie",
    [
        {"hash": "11" * 32},
        {"merkleroot": "11" * 32},
        {"version": 2},
        {"time": 1},
        {"time": 2**32},
        {"bits": "207ffffe"},
        {"bits": "none"},
        {"nonce": 1},
        {"previousblockhash": "11" * 32},
    ],
)
def test_a_block_is_what_its_hash_names(lie: dict[str, Any]) -> None:
    block = _block(1, "0" * 64)
    assert not msgspec.structs.replace(block, **lie).is_whole()


#: Block 100,000 of Bitcoin, whose header, root and four txids anybody can look up.
BITCOIN_100000_HEADER: Final = {
    "hash": "000000000003ba27aa200b1cecaad478d2b00432346c3f1f3986da1afd33e506",
    "version": 1,
    "previousblockhash": "000000000002d01c1fccc21636b607dfd930d31d01c3a62104612a1719011250",
    "time": 1293623863,
    "bits": "1b04864c",
    "nonce": 274148111,
}
BITCOIN_100000 = (
    "f3e94742aca4b5ef85488dc37c06c3282295ffec960994b2c0d5ac2a25a95766",
    (
        "8c14f0db3df150123e6f3dbbf30f8b955a8249b62ac1d1ff16284aefa3d06d87",
        "fff2525b8931402dd09222c50775608f75787bd2b87e56995a7bdd30f79702c4",
        "6359f0868171b1d194cbee1af2f16ea598ae8fad666d9b012c8ed2b79a236ec4",
        "e9a66845e05d5abc0ad04ec80f774a7e585c6e8db975962d069a522137b80c1d",
    ),
)


def test_a_block_with_a_transaction_less_is_not_whole() -> None:
    root, txids = BITCOIN_100000
    whole = _block(4, root, **BITCOIN_100000_HEADER)
    named = [
        msgspec.structs.replace(each, txid=txid) for each, txid in zip(whole.tx, txids, strict=True)
    ]
    assert msgspec.structs.replace(whole, tx=tuple(named)).is_whole()
    assert not msgspec.structs.replace(whole, tx=tuple(named[:3])).is_whole()
    assert not msgspec.structs.replace(whole, tx=tuple(reversed(named))).is_whole()
