"""Calls a node in the simplest way: for the command line and for the start of the stack.

The services have a client of their own, which retries and classifies; this one tells what happened.
"""

from __future__ import annotations

import base64
import http.client
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from schemas.settings import Settings
from streams.local.errors import StackError
from streams.local.node.errors import RpcError
from streams.node.client import endpoint_of


class NodeUnreachable(StackError):
    """No node answers at the address, or it refuses the password."""


class Caller:
    """One node; a new connection each call, so that it has no state."""

    def __init__(self, url: str, credentials: str, *, timeout_seconds: float = 60.0) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or "127.0.0.1"
        self._port = parts.port or 80
        self._timeout = timeout_seconds
        self._authorization = "Basic " + base64.b64encode(credentials.encode()).decode()

    def call(self, method: str, *parameters: object) -> Any:
        """The result; raises ``RpcError`` for an error of the call, ``NodeUnreachable`` else."""
        status, body = self.post(
            msgspec.json.encode({"id": 0, "method": method, "params": list(parameters)})
        )
        if status == 401:
            raise NodeUnreachable(f"the node at {self._place} refuses the user or password")
        try:
            reply = msgspec.json.decode(body)
        except msgspec.DecodeError:
            said = body.decode(errors="replace")[:200]
            raise NodeUnreachable(f"the node at {self._place} says: {status} {said}") from None
        if reply["error"] is not None:
            raise RpcError(reply["error"]["code"], reply["error"]["message"])
        return reply["result"]

    def post(self, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
        """Status and body of one request; raises ``NodeUnreachable``."""
        connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)
        given = {"Authorization": self._authorization, "Content-Type": "application/json"}
        try:
            connection.request("POST", "/", body, given | (headers or {}))
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            said = str(error) or type(error).__name__
            raise NodeUnreachable(f"no answer from a node at {self._place}: {said}") from None
        finally:
            connection.close()

    @property
    def _place(self) -> str:
        return f"{self._host}:{self._port}"


def caller_of(settings: Settings) -> Caller:
    """The node that the settings name, by user and password or by its cookie."""
    endpoint = endpoint_of(settings)
    if not endpoint.user and endpoint.cookie:
        return Caller(endpoint.url, read_cookie(Path(endpoint.cookie)))
    return Caller(endpoint.url, f"{endpoint.user}:{endpoint.password}")


def read_cookie(path: Path) -> str:
    """USER:PASSWORD of a node that wrote a cookie; raises ``NodeUnreachable``."""
    try:
        return path.read_text().strip()
    except OSError:
        raise NodeUnreachable(f"no cookie of a node at {path}: does it run?") from None
