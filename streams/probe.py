"""Health, readiness and metrics of a background process over HTTP, in a thread of its own."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

from schemas.settings import SettingsError
from streams.heart import Heart
from streams.metrics import exposition

#: None if all is well, else what is not.
Check = Callable[[], str | None]


class Probe:
    """Serves ``/healthz``, ``/readyz`` and ``/metrics`` on the loopback or the pod's address."""

    def __init__(self, name: str, host: str, port: int, *, healthy: Check, ready: Check) -> None:
        """``name`` is the process', whose metrics are served."""
        self._server = ThreadingHTTPServer((host, port), _handler(name, healthy, ready))
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="probe", daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        """The port that is served, where 0 was asked for too."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._server.server_close()


class Process(Protocol):
    """A loop that runs until it is told to stop."""

    #: Beats as long as the loop turns, whatever it waits for.
    heart: Heart

    def run(self) -> None:
        """Work until ``stop``."""

    def stop(self) -> None:
        """End after what is in hand; called from any thread."""

    def fault(self) -> str | None:
        """What keeps it from working, or None."""


def run_with_probe(
    process: Process, name: str, host: str, port: int, announce: Callable[[str], None]
) -> None:
    """Run until SIGTERM or SIGINT, and serve a probe meanwhile, whose address is announced.

    Raises ``SettingsError`` where that cannot be listened on.
    """
    _stop_on_signals(process)
    try:
        probe = Probe(name, host, port, healthy=process.heart.stalled, ready=process.fault)
    except OSError as error:
        raise not_listening(name, f"The {name}'s probe", host, port, error) from None
    announce(f"wallet {name}: probe on http://{host}:{probe.port}")
    try:
        process.run()
    finally:
        probe.close()


def not_listening(name: str, who: str, host: str, port: int, error: OSError) -> SettingsError:
    """What to tell where the process of that name cannot listen."""
    return SettingsError(
        f"{who} cannot listen on {host}:{port}: {error.strerror or error}. "
        f"WALLET_{name.upper()}_PORT names another port, 0 takes a free one."
    )


def _stop_on_signals(process: Process) -> None:
    """Stop it from a thread: a handler runs in between two steps of the loop, and would wait for
    ever for a lock that the loop holds just then, as ``Event.wait`` does for a moment."""
    told, tell = os.pipe()
    os.set_blocking(tell, False)

    def wait() -> None:
        while os.read(told, 1):
            process.stop()

    threading.Thread(target=wait, name="signals", daemon=True).start()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os.write(tell, b"."))


def _handler(name: str, healthy: Check, ready: Check) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            match self.path:
                case "/healthz":
                    self._state(healthy())
                case "/readyz":
                    self._state(ready())
                case "/metrics":
                    self._answer(200, "text/plain; version=0.0.4", exposition(name))
                case _:
                    self._answer(404, "text/plain", b"try /healthz, /readyz or /metrics\n")

        def _state(self, fault: str | None) -> None:
            body = json.dumps({"status": "ok"} if fault is None else {"status": fault}).encode()
            self._answer(200 if fault is None else 503, "application/json", body)

        def _answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Probes come every second; they are no news."""

    return Handler
