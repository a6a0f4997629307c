"""Keeps the chain's tables from a node in memory, as the watcher does from the wire."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import psycopg

from processors.dogecoin.scripts import address_of_script, public_key_hash_of
from schemas.addresses import decode_address
from schemas.amounts import Koinu
from schemas.commands import Data, ProcessDeposit, ReverseDeposit
from streams.local.node.blocks import Block, Carried
from streams.local.node.node import Node as LocalNode
from tests.support.till import Till

Connection = psycopg.Connection[tuple[Any, ...]]
_REQUIRED = 2


class Follower:
    """Follows the node's chain block by block, and credits deposits."""

    def __init__(self, connection: Connection, node: LocalNode, till: Till) -> None:
        self._db = connection
        self._node = node
        self._till = till
        self._path: list[str] = []
        self._coins: set[tuple[str, int]] = set()
        self._payments: dict[str, list[tuple[str, int]]] = {}
        genesis = node.store.hash_at(0)
        connection.execute(
            "INSERT INTO chain_state (genesis_hash, birthday_height) VALUES (%s, 0)", (genesis,)
        )

    def watch(self) -> None:
        """Look for the addresses that users have."""
        rows = self._till.rows(
            "SELECT address, user_id::text, account_key, derivation_index FROM deposit_addresses"
        )
        for address, user, account_key, index in rows:
            payload = decode_address(address)
            assert payload is not None
            self._db.execute(
                "INSERT INTO watched_scripts VALUES (%s, %s, %s, %s, 0, %s) ON CONFLICT DO NOTHING",
                (payload[1:], address, user, account_key, index),
            )

    def watch_change(self, digest: bytes, address: str, account_key: str, index: int) -> None:
        """Look for an address of the house."""
        self._db.execute(
            "INSERT INTO watched_scripts VALUES (%s, %s, NULL, %s, 1, %s) ON CONFLICT DO NOTHING",
            (digest, address, account_key, index),
        )

    def follow(self) -> None:
        """Catch up with the node: undo what it left, go forward, credit and reverse."""
        chain = self._node.chain
        while self._path and self._node.store.hash_at(len(self._path) - 1) != self._path[-1]:
            self._undo(len(self._path) - 1, self._path.pop())
        for height in range(len(self._path), chain.height + 1):
            block_hash = self._node.store.hash_at(height)
            assert block_hash is not None
            self._apply(height, self._node.store.block(block_hash))
            self._path.append(block_hash)
        self._db.execute("UPDATE chain_state SET node_height = %s", (chain.height,))
        self._credit(chain.height)

    def _undo(self, height: int, block_hash: str) -> None:
        lost = self._db.execute(
            "SELECT txid, vout, user_id::text, creditings FROM receipts"
            " WHERE height = %s AND credited",
            (height,),
        ).fetchall()
        with self._db.pipeline(), self._db.transaction():
            self._db.execute("UPDATE blocks SET active = false WHERE hash = %s", (block_hash,))
            for table in ("coins", "receipts", "spenders"):
                self._db.execute(
                    f"UPDATE {table} SET block_hash = NULL, height = NULL WHERE height = %s",
                    (height,),
                )
            self._db.execute(
                "UPDATE coins SET spent_height = NULL WHERE spent_height = %s", (height,)
            )
            self._db.execute("DELETE FROM spends WHERE height = %s", (height,))
            self._db.execute(
                "UPDATE receipts SET credited = false WHERE (txid, vout) IN"
                " (SELECT * FROM unnest(%s::text[], %s::int[]))",
                ([r[0] for r in lost], [r[1] for r in lost]),
            )
        for txid, vout, user, creditings in lost:
            self._tell(ReverseDeposit(txid=txid, vout=vout, ordinal=creditings), user)

    def _apply(self, height: int, block: Block) -> None:
        with self._db.transaction():
            self._db.execute(
                "INSERT INTO blocks (hash, height, previous_hash, time, active)"
                " VALUES (%s, %s, %s, %s, true) ON CONFLICT (hash) DO UPDATE SET active = true",
                (block.hash, height, block.header.previous, datetime.now(UTC)),
            )
            if len(block.transactions) == 1:
                return
            watched = {
                row[0]: row[1:]
                for row in self._db.execute(
                    "SELECT public_key_hash, address, user_id::text FROM watched_scripts"
                )
            }
            for carried in block.transactions[1:]:
                self._outputs(watched, height, block.hash, carried)
                self._inputs(height, block.hash, carried)

    def _outputs(
        self, watched: dict[bytes, Any], height: int, block_hash: str, carried: Carried
    ) -> None:
        for vout, output in enumerate(carried.body.outputs):
            digest = public_key_hash_of(output.script.hex())
            if digest is None or digest not in watched:
                continue
            address, user = watched[digest]
            self._coins.add((carried.txid, vout))
            self._db.execute(
                "INSERT INTO coins VALUES (%s, %s, %s, %s, false, %s, %s)"
                " ON CONFLICT (txid, vout) DO UPDATE SET block_hash = excluded.block_hash,"
                " height = excluded.height",
                (carried.txid, vout, digest, output.amount, block_hash, height),
            )
            if user is None:
                continue
            self._db.execute(
                "INSERT INTO receipts (txid, vout, user_id, address, amount, coinbase,"
                " block_hash, height, sufficient, required)"
                " VALUES (%s, %s, %s, %s, %s, false, %s, %s, true, %s)"
                " ON CONFLICT (txid, vout) DO UPDATE SET block_hash = excluded.block_hash,"
                " height = excluded.height",
                (carried.txid, vout, user, address, output.amount, block_hash, height, _REQUIRED),
            )

    def _inputs(self, height: int, block_hash: str, carried: Carried) -> None:
        body = carried.body
        ours = [each for each in body.inputs if (each.txid, each.vout) in self._coins]
        if not ours:
            return
        self._db.execute(
            "INSERT INTO spenders VALUES (%s, %s, %s, %s, %s, %s)"
            " ON CONFLICT (txid) DO UPDATE SET block_hash = excluded.block_hash,"
            " height = excluded.height",
            (
                carried.txid,
                body.outputs_hash,
                sum(each.amount for each in body.outputs),
                len(body.inputs),
                block_hash,
                height,
            ),
        )
        for spent in ours:
            self._db.execute(
                "INSERT INTO spends VALUES (%s, %s, %s, %s)",
                (spent.txid, spent.vout, carried.txid, height),
            )
            self._db.execute(
                "UPDATE coins SET spent_height = %s WHERE (txid, vout) = (%s, %s)",
                (height, spent.txid, spent.vout),
            )

    def _credit(self, tip: int) -> None:
        due = self._db.execute(
            "UPDATE receipts SET credited = true, creditings = creditings + 1"
            " WHERE NOT credited AND height <= %s - required + 1"
            " RETURNING txid, vout, user_id::text, address, amount, block_hash, height, creditings",
            (tip,),
        ).fetchall()
        for txid, vout, user, address, amount, block_hash, height, ordinal in due:
            self._tell(
                ProcessDeposit(
                    txid=txid,
                    vout=vout,
                    address=address,
                    amount=Koinu(amount),
                    block_hash=block_hash,
                    height=height,
                    ordinal=ordinal,
                ),
                user,
            )

    def _tell(self, data: Data, user: str) -> None:
        record = self._till.put(data, user)
        self._till.apply(record)
        assert self._till.outcome(record)[0] == "accepted", (data, self._till.outcome(record))

    def paid(self) -> dict[str, int]:
        """Koinu that the node's chain pays to each address."""
        found: dict[str, int] = {}
        for height in range(self._node.chain.height + 1):
            block_hash = self._node.store.hash_at(height)
            assert block_hash is not None
            if block_hash not in self._payments:
                self._payments[block_hash] = self._paid_in(block_hash)
            for address, amount in self._payments[block_hash]:
                found[address] = found.get(address, 0) + amount
        return found

    def _paid_in(self, block_hash: str) -> list[tuple[str, int]]:
        payments = [
            (address_of_script(output.script, self._node.rules.network), output.amount)
            for carried in self._node.store.block(block_hash).transactions
            for output in carried.body.outputs
        ]
        return [(address, amount) for address, amount in payments if address is not None]
