"""An HTTP server that answers what it is told to, for what no well-behaved node does."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Scripted(NamedTuple):
    """One answer: status and body; ``promised`` is the length that the header tells."""

    status: int
    body: bytes
    promised: int | None = None


def result(value: object) -> Callable[[Any], Scripted]:
    """A call's result, with the id of the call."""
    return lambda call: Scripted(
        200, json.dumps({"result": value, "error": None, "id": call["id"]}).encode()
    )


def refusal(code: int, message: str, status: int = 500) -> Callable[[Any], Scripted]:
    """An error of the node's own, with the id of the call."""
    error = {"code": code, "message": message}
    return lambda call: Scripted(
        status, json.dumps({"result": None, "error": error, "id": call["id"]}).encode()
    )


def plain(status: int, body: bytes, promised: int | None = None) -> Callable[[Any], Scripted]:
    """Any answer."""
    return lambda call: Scripted(status, body, promised)


class Server:
    """Answers one call after another from ``script``; keeps what it was asked."""

    def __init__(self, *script: Callable[[Any], Scripted]) -> None:
        self.calls: list[Any] = []
        self.authorizations: list[str | None] = []
        self._script = list(script)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def serve(self) -> None:
        """Until ``close``."""
        self._server.serve_forever(poll_interval=0.01)

    def close(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, call: Any) -> Scripted:
        self.calls.append(call)
        # The last line of the script is repeated.
        step = self._script.pop(0) if len(self._script) > 1 else self._script[0]
        return step(call)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        answer = self._answer
        authorizations = self.authorizations

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                authorizations.append(self.headers.get("Authorization"))
                length = int(self.headers["Content-Length"])
                reply = answer(json.loads(self.rfile.read(length)))
                promised = len(reply.body) if reply.promised is None else reply.promised
                self.send_response(reply.status)
                self.send_header("Content-Length", str(promised))
                self.end_headers()
                self.wfile.write(reply.body)
                self.close_connection = promised != len(reply.body)

            def log_message(self, format: str, *args: Any) -> None:
                """Nobody reads it."""

        return Handler


@contextmanager
def serving(*script: Callable[[Any], Scripted]) -> Iterator[Server]:
    """A server in a thread."""
    server = Server(*script)
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join(timeout=5.0)
