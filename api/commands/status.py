"""``wallet status``: what runs of the wallet of this folder, and whether it is ready."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import click
from rich.markup import escape
from rich.table import Table

from api.console import standard_output
from api.home import Endpoints, leftovers, read_endpoints, supervisor_pid
from schemas.settings import Settings, SettingsError
from streams.local.asking import fault_of
from streams.local.process import accepts, recorded

_READY: Final = "ready"
_SILENT: Final = "does not answer"


@click.command("status")
def command() -> None:
    """Tell what runs, where, and whether it is ready. Exits with 1 if something is not."""
    home = Path(Settings.from_environ().home).resolve()
    pid, endpoints = supervisor_pid(home), read_endpoints(home)
    if pid is None:
        left = leftovers(home)
        if left:
            click.echo(
                f"`wallet up` was killed, and left {', '.join(left)} running: "
                "`wallet up` goes on from there, `wallet down` stops them"
            )
        else:
            click.echo(f"nothing of {home} runs: `wallet up` starts it")
        sys.exit(1)
    if endpoints is None:
        click.echo(f"`wallet up` (pid {pid}) is starting or stopping")
        sys.exit(1)
    sys.exit(0 if _show(home, endpoints) else 1)


def _show(home: Path, endpoints: Endpoints) -> bool:
    """Print a line a process; whether all of them are ready."""
    database = urlsplit(endpoints.database)
    broker_host, _, broker_port = endpoints.broker.partition(",")[0].rpartition(":")
    rows = [("API", "api", endpoints.api, _state(endpoints.api, endpoints.api_certificate))]
    for name in ("worker", "watcher", "payer", "bridge", "views"):
        metrics: str = getattr(endpoints, f"{name}_metrics")
        if metrics:
            address = metrics.removesuffix("/metrics")
            rows.append((name, name, address, _state(address)))
    reached = accepts(int(broker_port), broker_host)
    rows.append(("broker", "kafka", endpoints.broker, _READY if reached else _SILENT))
    place = f"{database.hostname}:{database.port}{database.path}"
    reached = accepts(database.port or 5432, database.hostname or "127.0.0.1")
    rows.append(("database", "postgres", place, _READY if reached else _SILENT))
    for name, file, address in (
        ("node", "node", endpoints.node),
        ("AWS emulator", "aws", endpoints.aws),
    ):
        if address:
            at = urlsplit(address)
            reached = accepts(at.port or 80, at.hostname or "127.0.0.1")
            rows.append((name, file, address, _READY if reached else _SILENT))
    table = Table("process", "pid", "address", "state", box=None)
    for name, file, address, state in rows:
        process = recorded(home / "run" / f"{file}.pid")
        pid = "elsewhere" if process is None else str(process.pid)
        table.add_row(name, pid, address, escape(state))
    standard_output().print(table)
    return all(state == _READY for *_, state in rows)


def _state(address: str, certificate: str = "") -> str:
    """Ready, or what the process says that keeps it from its work."""
    try:
        fault = fault_of(f"{address}/readyz", certificate)
    except OSError:
        return _SILENT
    except SettingsError as error:
        return f"cannot be asked: {error}"
    return _READY if fault is None else f"not ready: {fault}"
