"""``python -m streams.local.node``: the node as a process of its own."""

from __future__ import annotations

import argparse
import logging
import secrets
import signal
import threading
from pathlib import Path

from streams.local.keys import write_private
from streams.local.node.node import Node
from streams.local.node.rules import rules_of
from streams.local.node.server import NodeServer
from streams.local.process import LOOPBACK
from streams.logs import configure

COOKIE_FILE = ".cookie"
_COOKIE_USER = "__cookie__"


def main() -> None:
    """Serve until SIGTERM, SIGINT or the call ``stop``."""
    asked = _parser().parse_args()
    configure("node", asked.log_level)
    node = Node(asked.home, rules_of(asked.network, maturity=asked.maturity))
    server = NodeServer(node, port=asked.port, credentials=_credentials(asked), host=asked.host)
    ended = threading.Event()
    # Not from the handler itself: the loop that it interrupts is what it would wait for.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    if asked.block_seconds:
        threading.Thread(
            target=_mine, args=(node, asked.block_seconds, ended), name="miner", daemon=True
        ).start()
    logging.getLogger(__name__).info(
        "serving", extra={"address": server.address, "height": node.chain.height}
    )
    server.serve_forever(poll_interval=0.05)
    ended.set()
    server.stop_asked.set()
    server.server_close()
    with node.lock:
        node.close()


def _mine(node: Node, seconds: float, ended: threading.Event) -> None:
    """A block every so often, unless the node is told to be stuck."""
    while not ended.wait(seconds):
        if not node.stuck:
            with node.lock:
                if not ended.is_set():
                    node.mine()


def _credentials(asked: argparse.Namespace) -> str:
    """As Core: a user and password if they are given, else a new cookie in the node's home."""
    if asked.password:
        return f"{asked.user}:{asked.password}"
    credentials = f"{_COOKIE_USER}:{secrets.token_hex(32)}"
    write_private(asked.home / COOKIE_FILE, credentials)
    return credentials


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m streams.local.node", description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="folder of the chain")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default=LOOPBACK)
    parser.add_argument("--network", choices=("regtest", "testnet"), default="regtest")
    parser.add_argument("--maturity", type=int, help="confirmations of a coinbase; 60 in regtest")
    parser.add_argument("--block-seconds", type=float, default=0.0, help="0: mine on demand")
    parser.add_argument("--user", default="wallet")
    parser.add_argument("--password", default="", help="without one, a cookie is written")
    parser.add_argument("--log-level", default="INFO")
    return parser


if __name__ == "__main__":
    main()
