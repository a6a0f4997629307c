"""``wallet up``: the whole wallet on this machine, by one command."""

from __future__ import annotations

import contextlib
import errno
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click
import msgspec

from api.commands.arguments import Number, Whole
from api.home import Endpoints, folder_of, only_one, read_endpoints, writing
from api.local import LocalWallet
from schemas.commands import CommandType, OpenWallet
from schemas.envelope import encode_command
from schemas.settings import Settings
from streams.local.errors import HomeUnwritable
from streams.local.keys import Ports
from streams.local.progress import OnConsole

_GLANCE_SECONDS: Final = 0.1
#: What a folder answers that takes nothing.
_UNWRITABLE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES})

_ATTACHED: Final = """
Ctrl-C stops it.
"""

_Port = Whole(1, 65535)


@click.command("up")
@click.option("--detach", is_flag=True, help="Return once it runs; `wallet down` stops it.")
@click.option("--api-port", type=_Port, help="Where the API listens (8003).")
@click.option("--broker-port", type=_Port, help="Where the broker listens; kept for next time.")
@click.option("--database-port", type=_Port, help="Where the database listens; kept as well.")
@click.option("--node-port", type=_Port, help="Where the Dogecoin node listens; kept as well.")
@click.option("--aws-port", type=_Port, help="Where the AWS emulator listens; kept as well.")
@click.option(
    "--block-seconds",
    type=Number(min=0),
    default=1.0,
    show_default=True,
    help="Time between two blocks of the local chain; 0 mines by `wallet chain mine` alone.",
)
@click.option(
    "--accounts",
    type=Whole(1, 9),
    default=1,
    show_default=True,
    help="Accounts that this home has at least: another one is to rotate to.",
)
def command(
    detach: bool,
    api_port: int | None,
    broker_port: int | None,
    database_port: int | None,
    node_port: int | None,
    aws_port: int | None,
    block_seconds: float,
    accounts: int,
) -> None:
    """Start the whole wallet on this machine, and wait until all of it is ready.

    That is a database, a broker, a small Dogecoin node with a chain of its own, an AWS emulator
    that keeps the key and takes the events, and our processes: worker, API, watcher, payer,
    bridge and views.

    Data, keys and logs stay in .wallet (WALLET_HOME). A database, a broker or a node of your own is
    used where WALLET_DATABASE_URL, WALLET_KAFKA_BOOTSTRAP_SERVERS or WALLET_NODE_URL names it.
    Ctrl-C stops everything.
    """
    settings = Settings.from_environ()
    if api_port is not None:
        settings = msgspec.structs.replace(settings, api_port=api_port)
    home = Path(settings.home).resolve()
    if detach:
        sys.exit(_detached(home, sys.argv[2:]))
    asked = Ports(
        database=database_port or 0,
        broker=broker_port or 0,
        node=node_port or 0,
        aws=aws_port or 0,
    )
    with only_one(home):
        wallet = LocalWallet(home, settings, OnConsole(), asked, block_seconds, accounts=accounts)
        _run(wallet, home)


def _run(wallet: LocalWallet, home: Path) -> None:
    """Start, watch until SIGINT or SIGTERM, stop; a signal during the start stops what runs."""
    # SIGINT too: a shell has its background jobs ignore it, which Python would leave so.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    ready = False
    try:
        endpoints = _started(wallet, home)
        _say(_summary(endpoints, home, attached=sys.stdout.isatty()))
        ready = True
        wallet.watch()
    except KeyboardInterrupt:
        if not ready:
            click.echo("interrupted while it was starting", err=True)
            raise SystemExit(130) from None
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        started = time.monotonic()
        _say("stopping …")
        wallet.stop()
        _say(f"stopped in {time.monotonic() - started:.1f} s; the data stays in {home}")


def _started(wallet: LocalWallet, home: Path) -> Endpoints:
    try:
        return wallet.start()
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        raise HomeUnwritable(home, error) from error


def _say(line: str) -> None:
    # Where the disk is full, nothing can be said; everything stops all the same.
    with contextlib.suppress(OSError):
        click.echo(line)


def _detached(home: Path, arguments: list[str]) -> int:
    """Run the same command in a session of its own; show what it says until it is ready."""
    log = folder_of(home, "logs") / "up.log"
    argv = [sys.executable, "-m", "api.cli", "up"]
    argv += [argument for argument in arguments if argument != "--detach"]
    with writing(log), log.open("wb") as output:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    with log.open() as said:
        while True:
            code = process.poll()
            endpoints = read_endpoints(home)
            ready = endpoints is not None and endpoints.pid == process.pid
            click.echo(said.read(), nl=False)
            if code is not None:
                return code
            if ready:
                break
            time.sleep(_GLANCE_SECONDS)
    click.echo(f"\nIt runs in the background (pid {process.pid}); `wallet down` stops it.")
    return 0


def _summary(endpoints: Endpoints, home: Path, *, attached: bool) -> str:
    """What a newcomer needs: addresses, tokens, and three lines to paste."""
    views = endpoints.views_metrics.removesuffix("/metrics")
    trust = f" --cacert {endpoints.api_certificate}" if endpoints.api_certificate else ""
    python = Path(sys.executable)
    command = encode_command(
        CommandType.OPEN_WALLET,
        user_id=endpoints.user_id,
        idempotency_key=f"hello-{endpoints.pid}",
        data=OpenWallet(),
        issuer="a newcomer",
        issued_at=datetime.now(UTC),
        id="hello",
    )
    return f"""
The wallet runs; everything it keeps is in {home}

  API            {endpoints.api}
  its pages      {endpoints.api}/docs
  live views     {views or "none"}
  broker         {endpoints.broker}
  database       {endpoints.database}
  node           {endpoints.node or "none"}
  user           {endpoints.user_id}
  user token     {endpoints.user_token}
  service token  {endpoints.service_token}

A client, a producer and a consumer to paste:

curl{trust} -H 'Authorization: Bearer {endpoints.user_token}' {endpoints.api}/api/v1/wallet/balance

{_producer(python, endpoints, command.decode())}

{_consumer(python, endpoints)}
{_ATTACHED if attached else ""}"""


def _producer(python: Path, endpoints: Endpoints, command: str) -> str:
    return (
        f"{python} -c 'from confluent_kafka import Producer; "
        f'p = Producer({{"bootstrap.servers": "{endpoints.broker}", "acks": "all", '
        '"partitioner": "murmur2_random"}); '
        f'p.produce("wallet.commands.users", key="{endpoints.user_id}", value="""{command}"""); '
        "p.flush()'"
    )


def _consumer(python: Path, endpoints: Endpoints) -> str:
    return (
        f"{python} -c 'from confluent_kafka import Consumer; "
        f'c = Consumer({{"bootstrap.servers": "{endpoints.broker}", "group.id": "look", '
        '"auto.offset.reset": "earliest", "isolation.level": "read_committed"}); '
        'c.subscribe(["wallet.events"]); '
        "[print(m.value().decode()) for m in iter(lambda: c.poll(10), None) if not m.error()]'"
    )
