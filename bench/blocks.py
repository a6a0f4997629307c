"""How many full blocks a second the watcher takes, matched against a million addresses.

The node's own time is not counted: its answers lie ready. Everything else is: reading the answer,
checking that it is whole, matching, and one durable transaction a block with what it causes.
"""

from __future__ import annotations

import gc
import json
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from hashlib import sha256
from itertools import islice
from typing import Any, Final

import msgspec
import psutil

from bench.stage import Stage, Told
from db.engine import Connection, connect
from db.treasury import chain
from streams.node.client import Endpoint, Node
from streams.node.shapes import TransactionShape, header_hash
from streams.watcher import booking
from streams.watcher.ahead import Ahead

TRANSACTIONS: Final = 1_500
OUTPUTS_EACH: Final = 2
INPUTS_EACH: Final = 2
#: Outputs of a block that pay us, and outpoints that were ours: a large share of the chain.
OURS: Final = 60
_MATURITY: Final = 240
#: Of a block that was mined with another chain's.
_VERSION: Final = 6422788
_BITS: Final = "1a01d2b4"
#: Blocks that lie ready at a time; the first of them alone is waited for.
_PIECE: Final = 20
_ACCOUNT: Final = "bench"
_USER: Final = "00000000-0000-4000-8000-00000000000b"
_USERS: Final = 10_000


@dataclass(frozen=True, kw_only=True)
class Followed:
    """What was measured."""

    blocks: int
    rate: float
    first_half_mb: float
    second_half_mb: float
    matched: int


class Prepared(Node):
    """A node whose next answers lie ready."""

    def __init__(self) -> None:
        super().__init__(Endpoint("http://127.0.0.1:1"))
        self._blocks: dict[str, bytes] = {}

    def prepare(self, blocks: Sequence[tuple[str, bytes]]) -> None:
        """Have the answers for these blocks, by their hashes, ready."""
        self._blocks = dict(blocks)

    def _post(self, body: bytes) -> bytes:
        call = msgspec.json.decode(body)
        return b'{"result":%s,"error":null,"id":%d}' % (self._blocks[call["params"][0]], call["id"])


def watch_addresses(stage: Stage, count: int) -> None:
    """Have so many addresses watched, each by the hash that is its number."""
    with (
        connect(stage.settings.database_url, application_name="bench") as connection,
        connection.cursor() as cursor,
        cursor.copy(
            "COPY watched_scripts (public_key_hash, address, user_id, account_key, chain,"
            " derivation_index) FROM STDIN"
        ) as copy,
    ):
        for number in range(count):
            key = hash_of(number).hex()
            user = f"{_USER[:-5]}{number % _USERS:05d}"
            copy.write_row((f"\\x{key}", f"n{number}", user, _ACCOUNT, 0, number))
    with connect(
        stage.settings.database_url, application_name="bench", autocommit=True
    ) as connection:
        connection.execute("ANALYZE watched_scripts")


def hash_of(number: int) -> bytes:
    """The public key hash of an address of ours."""
    return sha256(number.to_bytes(8, "big")).digest()[:20]


class Blocks:
    """Makes block after block as a node answers them, each full and standing on the last."""

    def __init__(self, seed: int, addresses: int) -> None:
        self._chance = random.Random(seed)
        self._addresses = addresses
        self._previous = "00" * 32
        self._height = 0
        self._ours: list[tuple[str, int]] = []

    def make(self) -> tuple[str, bytes]:
        """The next one: its hash, and the answer to ``getblock``."""
        transactions = [self._transaction(place) for place in range(TRANSACTIONS)]
        root = _root([each["txid"] for each in transactions])
        time_, nonce = 1_767_225_600 + self._height, self._chance.randrange(2**32)
        block_hash = header_hash(
            version=_VERSION,
            previous=self._previous,
            merkle_root=root,
            time=time_,
            bits=_BITS,
            nonce=nonce,
        )
        document = {
            "hash": block_hash,
            "confirmations": 1,
            "size": 990_000,
            "height": self._height,
            "version": _VERSION,
            "merkleroot": root,
            "tx": transactions,
            "time": time_,
            "bits": _BITS,
            "nonce": nonce,
            "previousblockhash": self._previous,
        }
        self._previous = block_hash
        self._height += 1
        return block_hash, json.dumps(document).encode()

    def _transaction(self, place: int) -> dict[str, Any]:
        ours = 0 < place <= OURS
        spent = [(self._chance.randbytes(32).hex(), 1) for _ in range(INPUTS_EACH)]
        if ours and len(self._ours) > OURS:
            spent[0] = self._ours.pop(0)
        document = {
            "txid": "00" * 32,
            "size": 374,
            "version": 1,
            "locktime": 0,
            "vin": [_input(*each) for each in spent]
            if place
            # The height and a number of the miner's own: no two coinbases are the same.
            else [
                {
                    "coinbase": f"04{self._height:08x}08{self._chance.randbytes(8).hex()}",
                    "sequence": 4294967295,
                }
            ],
            "vout": [self._output(vout, ours and vout == 0) for vout in range(OUTPUTS_EACH)],
        }
        # The watcher proves what is ours against its txid.
        txid = msgspec.json.decode(json.dumps(document), type=TransactionShape).whole().txid
        if ours:
            self._ours.append((txid, 0))
        return document | {"txid": txid, "hash": txid}

    def _output(self, vout: int, ours: bool) -> dict[str, Any]:
        key = (
            hash_of(self._chance.randrange(self._addresses)) if ours else self._chance.randbytes(20)
        ).hex()
        return {
            "value": 1234.5678,
            "n": vout,
            "scriptPubKey": {
                "asm": f"OP_DUP OP_HASH160 {key} OP_EQUALVERIFY OP_CHECKSIG",
                "hex": f"76a914{key}88ac",
                "reqSigs": 1,
                "type": "pubkeyhash",
                "addresses": ["D" + key[:33]],
            },
        }


def _input(txid: str, vout: int) -> dict[str, Any]:
    script = "47" + txid + txid + "0121" + txid
    return {
        "txid": txid,
        "vout": vout,
        "scriptSig": {"asm": f"{script[2:130]}[ALL] {script[-64:]}", "hex": script},
        "sequence": 4294967295,
    }


def _root(txids: list[str]) -> str:
    level = [bytes.fromhex(txid)[::-1] for txid in txids]
    while len(level) > 1:
        level += level[-1:] * (len(level) % 2)
        pairs = zip(level[::2], level[1::2], strict=True)
        level = [sha256(sha256(a + b).digest()).digest() for a, b in pairs]
    return level[0][::-1].hex()


def follow(stage: Stage, seed: int, addresses: int, count: int, told: Told) -> Followed:
    """Take so many blocks, as the watcher does; the time it takes to make them does not count."""
    node, process = Prepared(), psutil.Process()
    spent, matched, done = 0.0, 0, 0
    halves: list[list[float]] = [[0.0], [0.0]]
    blocks = _many(seed, addresses, count)
    with _connected(stage) as connection, _without_collector():
        while prepared := list(islice(blocks, _PIECE)):
            node.prepare(prepared)
            gc.collect()
            started = time.perf_counter()
            with Ahead(node, [block_hash for block_hash, _ in prepared]) as ahead:
                for sought in ahead:
                    booking.watch_new_addresses(connection)
                    booked = booking.book_block(
                        connection,
                        sought,
                        maturity=_MATURITY,
                        crediting=True,
                        meanwhile=ahead.begin_next,
                    )
                    matched += booked.received + booked.spent
            spent += time.perf_counter() - started
            halves[2 * done // count].append(process.memory_info().rss / 1e6)
            done += len(prepared)
            told(f"{done} of {count} blocks, {done / spent:.0f}/s")
    return Followed(
        blocks=count,
        rate=count / spent,
        first_half_mb=max(halves[0]),
        second_half_mb=max(halves[1]),
        matched=matched,
    )


@contextmanager
def _without_collector() -> Iterator[None]:
    """As the watcher runs, which looks for cyclic garbage between blocks alone."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def follow_one_by_one(stage: Stage, seed: int, addresses: int, count: int) -> float:
    """Blocks a second where each output and each input is looked up by itself."""
    spent = 0.0
    with _connected(stage) as connection:
        for _, body in _many(seed, addresses, count):
            started = time.perf_counter()
            block = json.loads(body, parse_float=Decimal)
            with connection.transaction(), connection.cursor() as cursor:
                for transaction in block["tx"]:
                    for output in transaction["vout"]:
                        key = bytes.fromhex(output["scriptPubKey"]["hex"][6:46])
                        cursor.execute(
                            "SELECT user_id FROM watched_scripts WHERE public_key_hash = %s",
                            (key,),
                        )
                    for each in transaction["vin"]:
                        cursor.execute(
                            "SELECT FROM coins WHERE txid = %s AND vout = %s",
                            (each.get("txid"), each.get("vout")),
                        )
            spent += time.perf_counter() - started
    return count / spent


def _many(seed: int, addresses: int, count: int) -> Iterator[tuple[str, bytes]]:
    blocks = Blocks(seed, addresses)
    for _ in range(count):
        yield blocks.make()


def _connected(stage: Stage) -> Connection:
    connection = connect(stage.settings.database_url, application_name="bench", autocommit=True)
    assert chain.lead(connection), "another follower is at work"
    with connection.transaction(), connection.cursor() as cursor:
        if chain.read_state(cursor) is None:
            chain.begin(cursor, "00" * 32, 0)
    return connection
