"""A process behind TLS is asked by the very certificate that it serves."""

from __future__ import annotations

import http.server
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from schemas.settings import SettingsError
from streams.local.asking import answers, fault_of
from tests.support.authority import Authority, ServerFiles

#: The API's own answer: what it looked for, and whether it is there.
_API: Final = (
    b'{"status": "unready", "checks": {"database": true, "broker": false, "outcomes": false}}'
)


class _Busy(http.server.BaseHTTPRequestHandler):
    """Ready at ``/readyz`` alone."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/readyz" else 503)
        self.end_headers()
        self.wfile.write(_API if self.path == "/api" else b'{"status": "the broker is away"}')

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def files(tmp_path: Path) -> ServerFiles:
    """For a host that is not this one, as a certificate of production is."""
    return Authority(tmp_path).server("api", host="wallet.example")


@pytest.fixture
def secured(files: ServerFiles) -> Iterator[str]:
    """The address of a process that speaks TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Busy)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"https://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_it_answers_to_who_knows_its_certificate_and_says_what_is_wrong(
    secured: str, files: ServerFiles
) -> None:
    certificate = str(files.certificate)
    assert answers(f"{secured}/readyz", certificate)
    assert fault_of(f"{secured}/other", certificate) == "the broker is away"
    assert fault_of(f"{secured}/api", certificate) == "without broker, outcomes"


def test_another_process_in_its_place_is_not_taken_for_it(secured: str, tmp_path: Path) -> None:
    other = Authority(tmp_path, "others").server("other")
    assert not answers(f"{secured}/readyz", str(other.certificate))


def test_a_certificate_that_cannot_be_read_is_named(secured: str) -> None:
    with pytest.raises(SettingsError, match="names /none"):
        answers(secured, "/none.crt")
