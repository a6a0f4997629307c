"""`wallet status`: a process that is not ready is told with its reason."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from api.cli import group
from api.commands.up import _summary
from api.home import ENDPOINTS_FILE, Endpoints
from streams.local.process import free_port, record
from streams.probe import Probe


def endpoints(worker: int, **changes: object) -> Endpoints:
    """Of a wallet of which a worker alone answers."""
    away = f"http://127.0.0.1:{free_port()}"
    found = Endpoints(
        pid=os.getpid(),
        api=away,
        broker=f"127.0.0.1:{free_port()}",
        database=f"postgresql://a:b@127.0.0.1:{free_port()}/wallet",
        worker_metrics=f"http://127.0.0.1:{worker}/metrics",
        user_id="3f0f6b1e-6a49-4b58-9a52-0c6a3f9f2c11",
        user_token="user.token",
        service_token="service.token",
        environment_file="up.env",
    )
    return msgspec.structs.replace(found, **changes)


def status(home: Path, found: Endpoints) -> Result:
    """What is told of a folder in which it runs."""
    record(home / "run" / "up.pid", os.getpid())
    (home / ENDPOINTS_FILE).write_bytes(msgspec.json.encode(found))
    return CliRunner().invoke(group, ["status"], env={"WALLET_HOME": str(home), "COLUMNS": "200"})


def test_what_is_not_ready_says_why_and_what_is_silent_is_told_as_such(tmp_path: Path) -> None:
    probe = Probe(
        "worker",
        "127.0.0.1",
        0,
        healthy=lambda: None,
        ready=lambda: "halted: [commands/3] of another topic",
    )
    try:
        done = status(tmp_path, endpoints(probe.port))
    finally:
        probe.close()
    assert done.exit_code == 1
    lines = {line.split()[0]: line for line in done.output.splitlines()}
    assert lines["worker"].rstrip().endswith("not ready: halted: [commands/3] of another topic")
    assert lines["API"].rstrip().endswith("does not answer")


@pytest.mark.parametrize("attached", [True, False])
def test_the_summary_names_what_a_newcomer_looks_for(tmp_path: Path, attached: bool) -> None:
    found = endpoints(1, views_metrics="http://127.0.0.1:4004/metrics", api_certificate="/c.pem")
    told = _summary(found, tmp_path, attached=attached)
    assert f"{found.api}/docs" in told
    assert "http://127.0.0.1:4004\n" in told
    assert "curl --cacert /c.pem -H" in told
    assert ("Ctrl-C" in told) is attached
