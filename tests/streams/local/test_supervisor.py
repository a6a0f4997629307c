"""The supervisor: what ends is started again, what cannot run is given up, all stops in time."""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import psutil
import pytest

from streams.local import embedded, supervisor
from streams.local.asking import answers, refusal
from streams.local.errors import DidNotStart, StackError
from streams.local.process import alive, free_port, record, recorded, stop, wait_until
from streams.local.supervisor import Service, Supervisor

#: Answers 200 to everything; drains on SIGTERM as our services do.
READY: Final = """
import http.server, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Ready).serve_forever()
"""


#: Runs, and says why it does not work.
HALTED: Final = READY.replace(
    "self.send_response(200); self.end_headers()",
    "self.send_response(503); self.end_headers(); "
    'self.wfile.write(b\'{"status": "a partition is halted"}\')',
)


def service(home: Path, code: str = READY) -> Service:
    """A small service under ``home``."""
    port = free_port()
    return Service(
        "worker",
        [sys.executable, "-c", code, str(port)],
        home=home,
        env=dict(os.environ),
        ready_url=f"http://127.0.0.1:{port}/readyz",
    )


class Watched:
    """A supervisor that watches in a thread; its fault, if any, is kept."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.fault: StackError | None = None
        self.told = threading.Event()
        self.supervisor = Supervisor(self.notes.append)
        self._thread = threading.Thread(target=self._watch)

    def watch(self) -> None:
        """Begin."""
        self._thread.start()

    def end(self) -> None:
        """Stop watching, and everything that is watched."""
        self.told.set()
        self._thread.join(10)
        self.supervisor.stop(together=0)

    def _watch(self) -> None:
        try:
            self.supervisor.watch(self.told)
        except StackError as fault:
            self.fault = fault


@pytest.fixture
def watched() -> Iterator[Watched]:
    """Ended with the test."""
    made = Watched()
    yield made
    made.end()


def test_a_killed_service_is_started_again(watched: Watched, tmp_path: Path) -> None:
    one = service(tmp_path)
    watched.supervisor.start(one)
    pid_file = tmp_path / "run" / "worker.pid"
    first = recorded(pid_file)
    assert first is not None
    watched.watch()
    first.kill()
    assert wait_until(lambda: any("started again" in note for note in watched.notes), 60)
    again = recorded(pid_file)
    assert again is not None
    assert again.pid != first.pid
    assert answers(one.ready_url)


def test_one_that_says_why_it_is_not_ready_is_left_running(
    watched: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    halted = service(tmp_path, HALTED)

    def until_it_says(condition: Callable[[], bool], timeout_seconds: float) -> bool:
        """The time is over once it has said why, however long its start takes here."""
        wait_until(lambda: condition() or refusal(halted.ready_url) is not None, timeout_seconds)
        return condition()

    monkeypatch.setattr(supervisor, "wait_until", until_it_says)
    watched.supervisor.start(halted)
    assert watched.notes == ["the worker started, but not ready: a partition is halted"]
    watched.watch()
    assert halted.alive()


def test_a_service_that_ends_again_and_again_is_given_up(watched: Watched, tmp_path: Path) -> None:
    flag = tmp_path / "broken"
    code = f"import pathlib, sys\nif pathlib.Path({str(flag)!r}).exists(): sys.exit(1)\n{READY}"
    watched.supervisor.start(service(tmp_path, code))
    flag.touch()
    left = recorded(tmp_path / "run" / "worker.pid")
    assert left is not None
    watched.watch()
    left.kill()
    assert wait_until(lambda: watched.fault is not None, 60)
    assert "times in a minute" in str(watched.fault)


def test_a_service_that_ends_at_once_is_told_with_its_last_words(tmp_path: Path) -> None:
    one = service(tmp_path, "print('no such topic'); raise SystemExit(1)")
    with pytest.raises(DidNotStart, match="no such topic"):
        one.start()


def test_a_service_left_by_a_killed_supervisor_is_stopped_first(tmp_path: Path) -> None:
    left, one = service(tmp_path), service(tmp_path)
    left.start()
    one.start()
    assert not left.alive()
    assert one.alive()
    one.stop()
    assert not (tmp_path / "run" / "worker.pid").exists()


def test_one_that_does_not_listen_is_killed_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is long enough to drain leaves time for the servers; here nobody waits for it.
    assert supervisor._DRAIN_SECONDS + embedded._STOP_SECONDS < 10
    monkeypatch.setattr(supervisor, "_DRAIN_SECONDS", 0.5)
    deaf = READY.replace("lambda *_: sys.exit(0)", "signal.SIG_IGN")
    one = service(tmp_path, deaf)
    one.start()
    started = time.monotonic()
    one.stop()
    assert time.monotonic() - started < 6
    assert not one.alive()


def test_a_frozen_one_is_stopped_too(tmp_path: Path) -> None:
    one = service(tmp_path)
    one.start()
    process = recorded(tmp_path / "run" / "worker.pid")
    assert process is not None
    process.suspend()
    assert stop(process, by=signal.SIGTERM, patience_seconds=60)
    one.stop()


def test_a_pid_used_again_is_not_taken_for_ours(tmp_path: Path) -> None:
    pid_file = tmp_path / "x.pid"
    record(pid_file, os.getpid())
    assert recorded(pid_file) is not None
    pid_file.write_text(f"{os.getpid()} 12345.00\n")
    assert recorded(pid_file) is None


def test_what_waits_for_an_operator_is_not_waited_for(watched: Watched, tmp_path: Path) -> None:
    halted = service(tmp_path, HALTED.replace("a partition is halted", "halted: a deep fork"))
    started = time.monotonic()
    watched.supervisor.start(halted)
    assert time.monotonic() - started < supervisor._READY_SECONDS / 4
    assert watched.notes == ["the worker started, but not ready: halted: a deep fork"]
    watched.watch()
    assert halted.alive()


def test_a_log_of_an_earlier_start_is_not_quoted_and_json_is_told_in_words(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    log.write_text("of an earlier start\n")
    before = log.stat().st_size
    record_of_now = {"message": "it fails", "exception": "Traceback …\nOSError: no room"}
    with log.open("a") as file:
        file.write(json.dumps(record_of_now) + "\nplain\n")
    told = str(DidNotStart("worker", "it ended at once", log, said_before=before))
    assert told.endswith("and ends: it fails: OSError: no room / plain")
    log.write_text("put aside, and new\n")
    told = str(DidNotStart("worker", "it ended at once", log, said_before=before))
    assert told.endswith("ends: put aside, and new")


class NoRoom:
    """Cannot be started while the disk is full."""

    name = "broker"

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals
        self.runs = False

    def start(self) -> None:
        if self.refusals:
            self.refusals -= 1
            raise OSError(errno.ENOSPC, "No space left on device")
        self.runs = True

    def alive(self) -> bool:
        return self.runs

    def stop(self) -> None:
        self.runs = False


def test_where_the_disk_is_full_it_is_tried_until_there_is_room(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(supervisor, "_WATCH_SECONDS", 0.001)
    full = NoRoom(0)
    watched.supervisor.start(full)
    full.runs, full.refusals = False, 20
    watched.watch()
    assert wait_until(lambda: full.runs, 60)
    assert watched.fault is None
    assert "the broker cannot be started: [Errno 28] No space left on device; trying again" in (
        watched.notes
    )


def test_a_process_that_cannot_be_recorded_is_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []

    def full(pid_file: Path, pid: int) -> None:
        started.append(psutil.Process(pid))
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("streams.local.process.record", full)
    with pytest.raises(OSError, match="No space"):
        service(tmp_path).start()
    assert not alive(started[0])
