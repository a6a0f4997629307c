"""An EventBridge that misbehaves by chance: what it took, in order, whatever it answered."""

from __future__ import annotations

import json
import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, bytes] | None


class MoodyBus:
    """Takes ``PutEvents``; how it fails is drawn by a seed, as often as ``trouble`` says."""

    def __init__(self, seed: int = 0, trouble: float = 0.0) -> None:
        self.trouble = trouble
        self.away = False
        #: The code that every call is refused with; none, and all is as the trouble has it.
        self.refusal = ""
        self.arrived: list[dict[str, Any]] = []
        #: Users that were in two calls at a time, or twice in one.
        self.crossed: set[str] = set()
        self.calls = Counter[str]()
        self._chance = random.Random(seed)
        self._lock = threading.Lock()
        self._inside = Counter[str]()

    def answer(self, body: bytes) -> Answer:
        """Take a call in; None leaves it without an answer."""
        entries = json.loads(body)["Entries"]
        users = [entry["Resources"][0] for entry in entries]
        with self._lock:
            self._inside.update(users)
            self.crossed |= {user for user in users if self._inside[user] > 1}
        try:
            with self._lock:
                return self._answer(entries)
        finally:
            with self._lock:
                self._inside.subtract(users)

    def _answer(self, entries: list[dict[str, Any]]) -> Answer:
        if self.away:
            return self._told("away", 503, {"__type": "ServiceUnavailable"})
        if refusal := self.refusal:
            return self._told("refused", 400, {"__type": refusal})
        if self._chance.random() >= self.trouble:
            return self._took(entries, [False] * len(entries))
        match self._chance.choice(("throttled", "partly", "silent", "garbage", "broken")):
            case "throttled":
                return self._told("throttled", 400, {"__type": "ThrottlingException"})
            case "partly":
                return self._took(entries, [self._chance.random() < 0.5 for _ in entries])
            case "silent":
                self._took(entries, [False] * len(entries))
                self.calls["silent"] += 1
                return None
            case "garbage":
                self.calls["garbage"] += 1
                return 200, b'{"Entries": [{"EventId": "of another call"}], "FailedEntryCount":'
            case _:
                return self._told("broken", 500, {"__type": "InternalFailure"})

    def _told(self, name: str, status: int, document: dict[str, Any]) -> Answer:
        self.calls[name] += 1
        return status, json.dumps(document).encode()

    def _took(self, entries: list[dict[str, Any]], failed: list[bool]) -> Answer:
        answers = []
        for entry, fails in zip(entries, failed, strict=True):
            if fails:
                answers.append({"ErrorCode": "ThrottlingException", "ErrorMessage": "slower"})
                continue
            self.arrived.append(entry)
            answers.append({"EventId": f"aws-{len(self.arrived)}"})
        return self._told("taken", 200, {"FailedEntryCount": sum(failed), "Entries": answers})

    def details(self) -> list[dict[str, Any]]:
        """The events that arrived, in order, doubles too."""
        with self._lock:
            return [json.loads(entry["Detail"]) for entry in self.arrived]

    def first_ids(self) -> dict[str, list[str]]:
        """By user, the ids in the order in which each came for the first time."""
        found: dict[str, list[str]] = {}
        for detail in self.details():
            ids = found.setdefault(detail["subject"], [])
            if detail["id"] not in ids:
                ids.append(detail["id"])
        return found


@contextmanager
def serving(bus: MoodyBus) -> Iterator[str]:
    """Serve it on the loopback; its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            answer = bus.answer(self.rfile.read(int(self.headers["Content-Length"])))
            if answer is None:
                self.close_connection = True
                return
            status, body = answer
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Calls are counted, not told."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
