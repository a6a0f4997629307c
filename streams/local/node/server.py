"""The node's wire: JSON-RPC over HTTP as Core's httprpc.cpp speaks it, and its ways to fail."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hmac
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import msgspec

from streams.local.node.calls import perform
from streams.local.node.errors import RpcCode, RpcError
from streams.local.node.faults import OVERLOAD_TEXT, WARMING_UP_TEXT, Fault, FaultKind
from streams.local.node.node import Node
from streams.local.process import LOOPBACK

#: Core's rpcthreads and rpcworkqueue.
THREADS: Final = 4
QUEUE: Final = 16
#: Core's rpcservertimeout.
_IDLE_SECONDS: Final = 30.0
#: How long a wrong password is thought about.
_WRONG_PASSWORD_SECONDS: Final = 0.25
_BODY_MAX: Final = 32 * 1024 * 1024
_JSON: Final = "application/json"
_STOPPING: Final = "Dogecoin server stopping"
_GARBAGE: Final = b"<html><body>It works!</body></html>"
_STATUS: Final = {RpcCode.INVALID_REQUEST: 400, RpcCode.METHOD_NOT_FOUND: 404}
#: Keys, and calls, whose numbers are heights.
_HEIGHTS: Final = frozenset({"height", "blocks", "headers"})

Reply = dict[str, Any]


class Severed(Exception):
    """The connection ends here; with what was to be said, or with nothing."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        super().__init__(str(fault.kind))


class NodeServer(ThreadingHTTPServer):
    """Serves one node; ``credentials`` is USER:PASSWORD."""

    daemon_threads = True
    # A caller who gave up must not keep the server from ending.
    block_on_close = False
    request_queue_size = 128

    def __init__(self, node: Node, *, port: int, credentials: str, host: str = LOOPBACK) -> None:
        self.node = node
        self.credentials = credentials.encode()
        self.stop_asked = threading.Event()
        self.room = threading.BoundedSemaphore(THREADS + QUEUE)
        self.workers = threading.BoundedSemaphore(THREADS)
        self.last_results: dict[str, object] = {}
        super().__init__((host, port), Handler)

    @property
    def address(self) -> str:
        """As the setting ``node_url`` takes it."""
        return f"http://{self.server_address[0]!s}:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: NodeServer
    protocol_version = "HTTP/1.1"
    timeout = _IDLE_SECONDS
    # Head and body in one packet: two would wait for each other's acknowledgement.
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Only POST is answered."""
        self._say(405, b"JSONRPC server handles only POST requests", "text/plain")

    def do_POST(self) -> None:
        """One call, or an array of them."""
        length = int(self.headers.get("Content-Length") or 0)
        if length > _BODY_MAX:
            self.close_connection = True
            self._say(400, b"", "text/plain")
            return
        body = self.rfile.read(length)
        if not self._authorized():
            self._say(401, b"", "text/plain", {"WWW-Authenticate": 'Basic realm="jsonrpc"'})
            return
        if not self.server.room.acquire(blocking=False):
            self._say(500, OVERLOAD_TEXT.encode(), "text/plain")
            return
        try:
            with self.server.workers:
                self._answer(body)
        except Severed as severed:
            self._sever(severed.fault)
        finally:
            self.server.room.release()

    def log_message(self, format: str, *args: object) -> None:
        """A node that is asked twice a second says nothing about it."""

    def _authorized(self) -> bool:
        given = self.headers.get("Authorization")
        if given is None:
            return False
        try:
            credentials = base64.b64decode(given.removeprefix("Basic ").strip(), validate=True)
        except binascii.Error:
            credentials = b""
        if hmac.compare_digest(credentials, self.server.credentials):
            return True
        time.sleep(_WRONG_PASSWORD_SECONDS)
        return False

    def _answer(self, body: bytes) -> None:
        try:
            request = msgspec.json.decode(body)
        except msgspec.DecodeError:
            self._say_reply(_failure(RpcError(RpcCode.PARSE_ERROR, "Parse error"), None))
            return
        if isinstance(request, list):
            replies = [_dispatch(self.server, each) for each in request]
            self._say(200, msgspec.json.encode(replies) + b"\n", _JSON)
        elif isinstance(request, dict):
            self._say_reply(_dispatch(self.server, request))
        else:
            error = RpcError(RpcCode.PARSE_ERROR, "Top-level object parse error")
            self._say_reply(_failure(error, None))
        if self.server.stop_asked.is_set():
            threading.Thread(target=self.server.shutdown, daemon=True).start()

    def _say_reply(self, reply: Reply) -> None:
        error = reply["error"]
        status = 200 if error is None else _STATUS.get(error["code"], 500)
        self._say(status, msgspec.json.encode(reply) + b"\n", _JSON)

    def _say(
        self, status: int, body: bytes, kind: str, headers: Mapping[str, str] | None = None
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def _sever(self, fault: Fault) -> None:
        """What is wrong on the wire itself."""
        match fault.kind:
            case FaultKind.OVERLOAD:
                self._say(500, OVERLOAD_TEXT.encode(), "text/plain")
                return
            case FaultKind.GARBAGE:
                self._say(200, _GARBAGE, "text/html")
                return
            case FaultKind.HALF:
                whole = bytes(msgspec.json.encode(fault.value))
                self.send_response(200)
                self.send_header("Content-Type", _JSON)
                self.send_header("Content-Length", str(len(whole)))
                self.end_headers()
                self.wfile.write(whole[: len(whole) // 2])
                self.wfile.flush()
            case FaultKind.TIME_OUT:
                # Until the caller gives up, which ends the connection.
                self.connection.settimeout(fault.seconds)
                with contextlib.suppress(OSError):
                    self.connection.recv(1)
            case _:
                pass
        self.close_connection = True


def _dispatch(server: NodeServer, request: object) -> Reply:
    """Answer one call; raises ``Severed`` where the answer is not to arrive whole."""
    identity = request.get("id") if isinstance(request, dict) else None
    try:
        method, parameters = _read(request)
        if method == "stop":
            server.stop_asked.set()
            return _success(_STOPPING, identity)
        fault = None
        if not method.startswith("wallet_"):
            fault = server.node.faults.meet(method)
        if fault is not None:
            return _faulty(server, fault, method, parameters, identity)
        result = perform(server.node, method, parameters)
        server.last_results[method] = result
        return _success(result, identity)
    except RpcError as error:
        return _failure(error, identity)


def _read(request: object) -> tuple[str, list[object] | dict[str, object]]:
    if not isinstance(request, dict):
        raise RpcError(RpcCode.INVALID_REQUEST, "Invalid Request object")
    method = request.get("method")
    if method is None:
        raise RpcError(RpcCode.INVALID_REQUEST, "Missing method")
    if not isinstance(method, str):
        raise RpcError(RpcCode.INVALID_REQUEST, "Method must be a string")
    parameters = request.get("params")
    if parameters is None:
        parameters = []
    if not isinstance(parameters, list | dict):
        raise RpcError(RpcCode.INVALID_REQUEST, "Params must be an array or object")
    return method, parameters


def _faulty(
    server: NodeServer, fault: Fault, method: str, parameters: Any, identity: object
) -> Reply:
    """The call as the fault wants it."""

    def done() -> object:
        return perform(server.node, method, parameters)

    match fault.kind:
        case FaultKind.ERROR:
            raise RpcError(fault.code, fault.message)
        case FaultKind.WARMING_UP:
            raise RpcError(RpcCode.WARMING_UP, WARMING_UP_TEXT)
        case FaultKind.UNHEARD | FaultKind.OVERLOAD | FaultKind.GARBAGE:
            raise Severed(fault)
        case FaultKind.LATE_ERROR:
            done()
            raise RpcError(fault.code, fault.message)
        case FaultKind.TIME_OUT | FaultKind.LOST:
            _ignoring_refusals(done)
            raise Severed(fault)
        case FaultKind.HALF:
            whole = _success(done(), identity)
            raise Severed(msgspec.structs.replace(fault, value=whole))
        case FaultKind.HEIGHT_LIE:
            by = fault.value if isinstance(fault.value, int) else 1
            return _success(_heightened(done(), by), identity)
        case FaultKind.REPEAT:
            return _success(server.last_results.get(method, None) or done(), identity)
        case FaultKind.ANSWER:
            return _success(fault.value, identity)


def _ignoring_refusals(done: Callable[[], object]) -> None:
    try:
        done()
    except RpcError:
        # Nobody hears of it either way.
        return


def _heightened(result: object, by: int) -> object:
    if isinstance(result, int) and not isinstance(result, bool):
        return result + by
    if isinstance(result, dict):
        return {
            key: value + by if key in _HEIGHTS and isinstance(value, int) else value
            for key, value in result.items()
        }
    return result


def _success(result: object, identity: object) -> Reply:
    return {"result": result, "error": None, "id": identity}


def _failure(error: RpcError, identity: object) -> Reply:
    said = {"code": error.code, "message": error.message}
    return {"result": None, "error": said, "id": identity}
