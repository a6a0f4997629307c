"""JSON-RPC of Dogecoin Core 1.14 over HTTP: only the calls it has, each with its answer's shape.

urllib3 carries it: kept connections with time-outs, a check that a body came whole, and no
retrying of its own that we would not know of. (requests adds only conveniences to it, httpx a
second event loop; ``http.client`` would have us write the pool.) This module alone imports it.

What a node cannot answer now (overloaded, warming up, away) is asked again for some seconds with
growing pauses, and then raised as ``NodeAway``. What it answers and cannot be right is
``NodeUnusable``: whoever meets it stops rather than go on with less than was asked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import SplitResult, unquote, urlsplit

import msgspec
import urllib3

from schemas.settings import Settings, SettingsError
from streams.node.answers import Answer, Verdict, answer_of
from streams.node.shapes import (
    AmountUnreadable,
    BlockShape,
    ChainShape,
    FeeShape,
    Hash,
    HeaderShape,
    RawTransactionShape,
    ReplyShape,
    UnspentShape,
    koinu_of,
)
from streams.outages import Backoff

#: How long a call is tried again before the node counts as away.
PATIENCE_SECONDS: Final = 3.0
#: A block of 1 MB is 6 MB of JSON, at worst three times as much; more is no answer of ours.
_BODY_MAX_BYTES: Final = 64 * 1024 * 1024
_CHUNK_BYTES: Final = 1024 * 1024
_CONNECT_SECONDS: Final = 5.0

_WARMING_UP: Final = -28
_NOT_FOUND: Final = -5
_BAD_PARAMETER: Final = -8
_TEXT_MAX: Final = 200

_T = TypeVar("_T")


class NodeFault(Exception):
    """The node did not answer as it should."""


class NodeAway(NodeFault):
    """The node cannot be reached, is overloaded, warms up, or does not let us in."""


class NodeUnusable(NodeFault):
    """The node's answer cannot be read, or cannot be right."""


class NodeRefusal(NodeFault):
    """The node answered with an error of its own."""

    def __init__(self, method: str, code: int, message: str) -> None:
        super().__init__(f"{method}: {code} {message}")
        self.code = code
        self.message = message


class Endpoint(NamedTuple):
    """Where a node is, and as whom to call it: by user and password, or by Core's cookie file."""

    #: http://HOST:PORT, without user or password.
    url: str
    user: str = ""
    password: str = ""
    cookie: str = ""

    def __repr__(self) -> str:
        return f"Endpoint({self.url})"

    @classmethod
    def of_url(cls, url: str, setting: str) -> Endpoint:
        """From http://USER:PASSWORD@HOST:PORT.

        Raises ``SettingsError``, which names the setting and shows nothing of its value.
        """
        parts = _parts_of(url)
        if parts is None:
            raise SettingsError(f"{setting} is not of the form http://HOST:PORT.")
        host = parts.netloc.rpartition("@")[2]
        return cls(
            f"{parts.scheme}://{host}", unquote(parts.username or ""), unquote(parts.password or "")
        )


def _parts_of(url: str) -> SplitResult | None:
    """The parts of an address that can be called, None for any other."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises where it is no number, or too large
    except ValueError:
        return None
    return parts if parts.scheme in {"http", "https"} and parts.hostname else None


def endpoint_of(settings: Settings) -> Endpoint:
    """The node of the settings; raises ``SettingsError`` where there is none that can be called."""
    settings.require("node_url")
    given = Endpoint.of_url(settings.node_url, "WALLET_NODE_URL")
    return Endpoint(
        given.url,
        settings.node_user or given.user,
        settings.node_password or given.password,
        settings.node_cookie,
    )


_Reader = msgspec.json.Decoder[ReplyShape[_T]]


_BLOCK: Final = msgspec.json.Decoder(ReplyShape[BlockShape])
_CHAIN: Final = msgspec.json.Decoder(ReplyShape[ChainShape])
_FEE: Final = msgspec.json.Decoder(ReplyShape[FeeShape])
_HASH: Final = msgspec.json.Decoder(ReplyShape[Hash])
_HEADER: Final = msgspec.json.Decoder(ReplyShape[HeaderShape])
_RAW: Final = msgspec.json.Decoder(ReplyShape[RawTransactionShape])
_UNSPENT: Final = msgspec.json.Decoder(ReplyShape[UnspentShape])
_HASHES: Final = msgspec.json.Decoder(tuple[ReplyShape[Hash], ...])


class Node:
    """One node; not for use by several threads at once."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        timeout_seconds: float = 30.0,
        patience_seconds: float = PATIENCE_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.endpoint = endpoint
        self._timeout_seconds = timeout_seconds
        self._patience_seconds = patience_seconds
        self._sleep = sleep
        self._calls = 0
        self._pool = urllib3.PoolManager(
            num_pools=1,
            maxsize=1,
            retries=False,
            timeout=urllib3.Timeout(
                connect=min(_CONNECT_SECONDS, timeout_seconds), read=timeout_seconds
            ),
        )

    def close(self) -> None:
        """Let go of the connection."""
        self._pool.clear()

    # ------------------------------------------------------------------ the chain

    def chain(self) -> ChainShape:
        """What the node follows and how far it is."""
        return self._call("getblockchaininfo", _CHAIN)

    def block_hash(self, height: int) -> str | None:
        """The main chain's block at a height; None above the tip."""
        return self._unless(_BAD_PARAMETER, "getblockhash", _HASH, height)

    def block_hashes(self, heights: Sequence[int]) -> list[str | None]:
        """The same for many heights in one request, which the node answers one after another."""
        if not heights:
            return []
        calls = [self._request("getblockhash", height) for height in heights]
        replies = self._read(msgspec.json.encode(calls), _HASHES)
        by_id = {reply.id: reply for reply in replies}
        found: list[str | None] = []
        for call in calls:
            reply = by_id.get(call["id"])
            if reply is None:
                raise NodeUnusable("a call of a batch was not answered")
            if reply.error is not None and reply.error.code != _BAD_PARAMETER:
                raise NodeRefusal("getblockhash", reply.error.code, reply.error.message)
            if reply.error is None and reply.result is None:
                raise NodeUnusable("a call of a batch was answered with nothing")
            found.append(reply.result)
        return found

    def header(self, block_hash: str) -> HeaderShape | None:
        """A block's header, of a stale block too; None where the node does not know it."""
        return self._unless(_NOT_FOUND, "getblockheader", _HEADER, block_hash, True)

    def block(self, block_hash: str) -> BlockShape:
        """A block with its transactions decoded.

        Raises ``NodeUnusable`` unless it is the block asked for, with all of its transactions.
        """
        found = self._call("getblock", _BLOCK, block_hash, 2)
        if found.hash != block_hash:
            raise NodeUnusable(f"asked for block {block_hash}, the node answers {found.hash}")
        if not all(each.vin for each in found.tx):
            raise NodeUnusable(f"a transaction of block {block_hash} spends nothing")
        if not found.is_whole():
            raise NodeUnusable(
                f"what the node answers of block {block_hash} is not what the hash names: its "
                "header, or the transactions of its Merkle root"
            )
        return found

    def unspent(self, txid: str, vout: int, *, with_mempool: bool = True) -> UnspentShape | None:
        """An output that nothing spends; None where it is spent or unknown."""
        return self._optional("gettxout", _UNSPENT, txid, vout, with_mempool)

    # ------------------------------------------------------------------ transactions

    def transaction(self, txid: str) -> RawTransactionShape | None:
        """In the mempool or, as far as the node has an index, in a block; None if not found."""
        return self._unless(_NOT_FOUND, "getrawtransaction", _RAW, txid, 1)

    def send(self, raw: bytes) -> Answer:
        """Broadcast signed bytes; never raises, since a fault means that nobody knows.

        May be repeated at any time with the same bytes.
        """
        try:
            txid = self._call("sendrawtransaction", _HASH, raw.hex())
        except NodeRefusal as refusal:
            return answer_of(refusal.code, refusal.message)
        except NodeFault as fault:
            return Answer(Verdict.UNKNOWN, None, str(fault))
        return Answer(Verdict.ACCEPTED, None, str(txid))

    def fee_rate(self, blocks: int) -> int | None:
        """The node's estimate in koinu for 1,000 bytes; None where it has none, as often."""
        shape = self._call("estimatesmartfee", _FEE, blocks)
        text = bytes(shape.feerate).decode()
        if text.startswith("-") or text == "null":
            return None
        try:
            return koinu_of(text)
        except AmountUnreadable as error:
            raise NodeUnusable(str(error)) from error

    # ------------------------------------------------------------------ calls

    def _unless(
        self, code: int, method: str, reader: _Reader[_T], *parameters: object
    ) -> _T | None:
        """The result, or None for the one error that means: there is none."""
        try:
            return self._call(method, reader, *parameters)
        except NodeRefusal as refusal:
            if refusal.code == code:
                return None
            raise

    def _call(self, method: str, reader: _Reader[_T], *parameters: object) -> _T:
        result = self._optional(method, reader, *parameters)
        if result is None:
            raise NodeUnusable(f"{method} is answered with nothing")
        return result

    def _optional(self, method: str, reader: _Reader[_T], *parameters: object) -> _T | None:
        call = self._request(method, *parameters)
        reply = self._read(msgspec.json.encode(call), reader)
        if reply.id != call["id"]:
            raise NodeUnusable(f"the answer to {method} is another call's")
        if reply.error is not None:
            raise NodeRefusal(method, reply.error.code, reply.error.message)
        return reply.result

    def _request(self, method: str, *parameters: object) -> dict[str, Any]:
        self._calls += 1
        return {"jsonrpc": "1.0", "id": self._calls, "method": method, "params": parameters}

    def _read(self, body: bytes, reader: msgspec.json.Decoder[_T]) -> _T:
        """Post a body and decode the answer; tries again while that may help."""
        deadline = time.monotonic() + self._patience_seconds
        backoff = Backoff(0.05, 1.0)
        while True:
            try:
                return _decoded(self._post(body), reader)
            except NodeAway:
                wait = backoff.next()
                if time.monotonic() + wait > deadline:
                    raise
                self._sleep(wait)

    def _post(self, body: bytes) -> bytes:
        deadline = time.monotonic() + self._timeout_seconds
        try:
            response = self._pool.request(
                "POST", self.endpoint.url, body=body, headers=self._headers(), preload_content=False
            )
            data = _body_of(response, deadline)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise NodeAway(f"{self.endpoint.url} is away: {error}") from error
        if response.status in (401, 403):
            raise NodeAway(
                f"{self.endpoint.url} does not let us in (HTTP {response.status}): check "
                "WALLET_NODE_USER and WALLET_NODE_PASSWORD, or WALLET_NODE_COOKIE"
            )
        # Errors of a call come with 404 or 500 and a JSON body; overload comes in plain text.
        if response.status != 200 and not data.lstrip().startswith((b"{", b"[")):
            text = data[:_TEXT_MAX].decode(errors="replace").strip()
            raise NodeAway(f"{self.endpoint.url}: HTTP {response.status} {text}")
        return data

    def _headers(self) -> dict[str, str]:
        user, password = self.endpoint.user, self.endpoint.password
        if not user and self.endpoint.cookie:
            # Read each time: every start of the node writes another one.
            line = Path(self.endpoint.cookie).read_text().strip()
            user, _, password = line.partition(":")
        headers = {"Content-Type": "application/json"}
        if user:
            headers |= urllib3.make_headers(basic_auth=f"{user}:{password}")
        return headers


def _body_of(response: urllib3.BaseHTTPResponse, deadline: float) -> bytes:
    """All of the body; ``deadline`` also ends one that comes drop by drop."""
    data = bytearray()
    for chunk in response.stream(_CHUNK_BYTES):
        data += chunk
        if len(data) > _BODY_MAX_BYTES:
            response.close()
            raise NodeUnusable(f"an answer of more than {_BODY_MAX_BYTES} bytes")
        if time.monotonic() > deadline:
            response.close()
            raise urllib3.exceptions.HTTPError("the answer takes too long")
    response.release_conn()
    return bytes(data)


def _decoded(data: bytes, reader: msgspec.json.Decoder[_T]) -> _T:
    try:
        reply = reader.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        text = data[:_TEXT_MAX].decode(errors="replace")
        raise NodeUnusable(f"an answer that cannot be read ({error}): {text!r}") from error
    replies: Any = reply if isinstance(reply, tuple) else (reply,)
    for each in replies:
        if each.error is not None and each.error.code == _WARMING_UP:
            raise NodeAway(f"the node is warming up: {each.error.message}")
    return reply
