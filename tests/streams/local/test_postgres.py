"""The embedded database: data that stays, and starts after every kind of untidy end."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from streams.local import places
from streams.local.errors import HalfInitialised, PortTaken, StackError
from streams.local.postgres import EmbeddedPostgres
from streams.local.process import LOOPBACK, free_port, is_root


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that every user may walk into."""
    path = Path(tempfile.mkdtemp(prefix="wallet-test-", dir="/var/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def server(home: Path) -> Iterator[EmbeddedPostgres]:
    """A server that is not started yet."""
    made = EmbeddedPostgres(home, port=free_port(), password="p/w: d")
    yield made
    made.remove()


def write_mark(server: EmbeddedPostgres) -> None:
    """Leave something to find again."""
    with psycopg.connect(server.address) as connection:
        connection.execute("CREATE TABLE mark AS SELECT 42 AS x")


def mark_is_there(server: EmbeddedPostgres) -> bool:
    """Whether it is."""
    with psycopg.connect(server.address) as connection:
        return connection.execute("SELECT x FROM mark").fetchone() == (42,)


def another(server: EmbeddedPostgres, home: Path) -> EmbeddedPostgres:
    """The same server as a supervisor sees it that knows nothing of the first."""
    return EmbeddedPostgres(home, port=server.port, password="p/w: d")


def test_a_second_start_finds_the_data(server: EmbeddedPostgres) -> None:
    server.start()
    write_mark(server)
    server.stop()
    assert not server.alive()
    server.start()
    assert mark_is_there(server)


def test_it_is_durable_and_asks_for_a_password(home: Path) -> None:
    server = EmbeddedPostgres(home, port=free_port(), password="right")
    try:
        server.start()
        with psycopg.connect(server.address) as connection:
            for setting in ("fsync", "synchronous_commit", "full_page_writes", "data_checksums"):
                assert connection.execute(f"SHOW {setting}").fetchone() == ("on",)
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(server.address.replace("right", "wrong"))
    finally:
        server.remove()


def test_it_starts_after_it_was_killed(server: EmbeddedPostgres) -> None:
    server.start()
    write_mark(server)
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    server.start()
    assert mark_is_there(server)


def test_a_new_supervisor_stops_what_a_killed_one_left(
    server: EmbeddedPostgres, home: Path
) -> None:
    server.start()
    write_mark(server)
    left = server.pid
    later = another(server, home)
    try:
        later.start()
        assert later.pid != left
        assert mark_is_there(later)
    finally:
        later.stop()


def test_a_stale_pid_that_another_program_has_now_does_not_hinder(
    server: EmbeddedPostgres, home: Path
) -> None:
    server.start()
    write_mark(server)
    server.stop()
    data = home / "postgres" / "data"
    (data / "postmaster.pid").write_text(f"{os.getpid()}\n{data}\n0\n{server.port}\n\n\n")
    server.start()
    assert mark_is_there(server)


def test_a_killed_initialisation_is_begun_anew(server: EmbeddedPostgres, home: Path) -> None:
    part = home / "postgres" / "data.part"
    part.mkdir(parents=True)
    (part / "PG_VERSION").write_text("18\n")
    server.start()
    assert not part.exists()


def test_a_half_initialised_directory_is_told_with_the_way_out(
    server: EmbeddedPostgres, home: Path
) -> None:
    data = home / "postgres" / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("18\n")
    with pytest.raises(HalfInitialised, match=r"pg_control is missing.*restore it") as caught:
        server.start()
    assert "\n" not in str(caught.value)


def test_data_of_another_release_is_refused(server: EmbeddedPostgres, home: Path) -> None:
    server.start()
    server.stop()
    (home / "postgres" / "data" / "PG_VERSION").write_text("17\n")
    with pytest.raises(StackError, match="made by PostgreSQL 17, this is 18"):
        server.start()


def test_a_taken_port_is_told_with_the_way_out(server: EmbeddedPostgres) -> None:
    told = pytest.raises(PortTaken, match=f"port {server.port}.*--database-port")
    with socket.create_server((LOOPBACK, server.port)), told:
        server.start()


@pytest.mark.skipif(not is_root(), reason="an ordinary user reaches his own programs")
def test_root_can_have_the_programs_where_others_cannot_walk(
    server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "reachable", lambda path, identity: path.name != "postgres")
    server.start()
    write_mark(server)
    (running,) = psutil.Process(server.pid).cmdline()[:1]
    assert "programs-18" in running
    assert mark_is_there(server)


@pytest.mark.skipif(not is_root(), reason="an ordinary user runs the database as himself")
def test_root_can_keep_it_where_others_cannot_walk(home: Path) -> None:
    home.chmod(0o700)
    server = EmbeddedPostgres(home, port=free_port(), password="x")
    try:
        server.start()
        write_mark(server)
        place = (home / "postgres").resolve()
        assert home not in place.parents
        server.stop()
        server.start()
        assert mark_is_there(server)
    finally:
        server.remove()
    assert not place.exists()
