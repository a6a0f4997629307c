"""The local node as a server of the local stack: started, found and stopped like the others."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from streams.local.embedded import EmbeddedServer
from streams.local.node.caller import Caller, NodeUnreachable, read_cookie
from streams.local.node.errors import RpcError
from streams.local.process import LOOPBACK, spawn

_START_SECONDS: Final = 20.0


class EmbeddedNode(EmbeddedServer):
    """A node under ``home``; its chain stays between runs.

    ``block_seconds`` is the time between two blocks; 0 mines on demand alone. ``name`` tells two
    nodes of one home apart.
    """

    origin = "our own Dogecoin node"

    def __init__(
        self,
        home: Path,
        *,
        port: int,
        network: str = "regtest",
        block_seconds: float = 0.0,
        maturity: int | None = None,
        name: str = "node",
    ) -> None:
        super().__init__(
            port=port, log=home / "logs" / f"{name}.log", pid_file=home / "run" / f"{name}.pid"
        )
        self.name = name
        self._network = network
        self._block_seconds = block_seconds
        self._maturity = maturity
        self._folder = home / name

    @property
    def address(self) -> str:
        """What the setting ``node_url`` takes."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def cookie(self) -> Path:
        """What the setting ``node_cookie`` takes; another one after each start."""
        return self._folder / ".cookie"

    def start(self) -> None:
        """Start, and return when it answers."""
        self._make_way("--node-port")
        self._folder.mkdir(parents=True, exist_ok=True)
        self.cookie.unlink(missing_ok=True)
        argv = [sys.executable, "-m", "streams.local.node", "--home", str(self._folder)]
        argv += ["--port", str(self.port), "--network", self._network]
        argv += ["--block-seconds", str(self._block_seconds)]
        if self._maturity is not None:
            argv += ["--maturity", str(self._maturity)]
        self._process = spawn(argv, log=self._log, pid_file=self._pid_file)
        self._await(self._serves, _START_SECONDS)

    def caller(self) -> Caller:
        """A plain way to call the node that runs now."""
        return Caller(self.address, read_cookie(self.cookie))

    def _serves(self) -> bool:
        try:
            self.caller().call("getblockcount")
        except (NodeUnreachable, RpcError):
            return False
        return True
