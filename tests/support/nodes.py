"""Nodes for the tests: our own, litecoind, and a dogecoind that is found on the path.

All three are processes in regtest that one class drives alike. ``any_node`` runs a test on each.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from processors.dogecoin.scripts import script_of_address
from schemas.amounts import format_amount
from streams.local.node.caller import Caller, NodeUnreachable
from streams.local.node.embedded import EmbeddedNode
from streams.local.node.errors import RpcError
from streams.local.node.miner import Miner
from streams.local.node.rules import rules_of
from streams.local.node.store import Coin
from streams.local.process import LOOPBACK, alive, free_port, stop, wait_until
from streams.node.client import Endpoint
from tests.support import litecoin

NETWORK: Final = "regtest"
_USER: Final = "tester"
_PASSWORD: Final = "known to all"
#: Takes the rewards of branches, so that no block of them equals an older one.
_ELSEWHERE: Final = "mnTkxhNkgx7TsZrEdRcPti564yQTzynGJp"
_START_SECONDS: Final = 30.0


class RunningNode(ABC):
    """A node in regtest that a test may do anything to."""

    name: str
    #: The hash of its first block: Litecoin's is another than Dogecoin's.
    genesis: str
    #: Confirmations that a coinbase output needs before it can be spent.
    maturity: int

    def __init__(self) -> None:
        self.miner = Miner.of(None, NETWORK)

    @abstractmethod
    def start(self) -> None:
        """Start, and return when it answers; also after a kill."""

    @abstractmethod
    def stop(self) -> None:
        """End it."""

    @property
    @abstractmethod
    def endpoint(self) -> Endpoint:
        """Where and as whom to call it."""

    @property
    @abstractmethod
    def pid(self) -> int:
        """Of its process, for killing and freezing."""

    @abstractmethod
    def fund(self, address: str, koinu: int) -> str:
        """Pay to an address from the miner's purse, mining until it has enough; the txid."""

    @abstractmethod
    def reorganise(self, depth: int, *, empty: bool = False) -> list[str]:
        """Replace the last blocks by one more; ``empty``: what they held waits in the mempool."""

    def call(self, method: str, *parameters: object) -> Any:
        """One call; raises ``RpcError``."""
        endpoint = self.endpoint
        credentials = f"{endpoint.user}:{endpoint.password}"
        return Caller(endpoint.url, credentials).call(method, *parameters)

    def mine(self, count: int = 1) -> list[str]:
        """Mine blocks for the miner's purse; their hashes."""
        hashes: list[str] = self.call("generatetoaddress", count, self.miner.address)
        return hashes


class OurNode(RunningNode):
    """Our own: see streams/local/node."""

    name = "ours"
    maturity = 60
    genesis = "3d2160a3b5dc4a9d62e7e66a295f70313ac808440ef7400d6c0772171ce973a5"

    def __init__(self, home: Path, *, block_seconds: float = 0.0) -> None:
        super().__init__()
        self.embedded = EmbeddedNode(home, port=free_port(), block_seconds=block_seconds)

    def start(self) -> None:
        self.embedded.start()

    def stop(self) -> None:
        self.embedded.stop()

    @property
    def endpoint(self) -> Endpoint:
        user, _, password = self.embedded.cookie.read_text().partition(":")
        return Endpoint(self.embedded.address, user, password)

    @property
    def pid(self) -> int:
        pid = self.embedded.pid
        assert pid is not None, "the node does not run"
        return pid

    def fund(self, address: str, koinu: int) -> str:
        txid: str = self.call("wallet_faucet", address, format_amount(koinu))
        return txid

    def reorganise(self, depth: int, *, empty: bool = False) -> list[str]:
        wish = {"depth": depth, "empty": depth + 1 if empty else 0}
        hashes: list[str] = self.call("wallet_reorganise", wish)
        return hashes

    def fault(self, kind: str, method: str = "*", **options: object) -> None:
        """Let calls go wrong: see ``streams.local.node.faults``."""
        self.call("wallet_fault", {"kind": kind, "method": method, **options})


class ForeignNode(RunningNode):
    """A node of Core's family, driven by nothing but Core's calls."""

    def __init__(self, program: Path, home: Path) -> None:
        super().__init__()
        self._program = program
        self._home = home
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.stop()
        self._home.mkdir(parents=True, exist_ok=True)
        argv = [str(self._program), "-regtest", f"-datadir={self._home}", "-server", "-listen=0"]
        argv += ["-dnsseed=0", "-txindex=1", "-acceptnonstdtxn=0", f"-rpcport={self._port}"]
        argv += [f"-rpcbind={LOOPBACK}", f"-rpcallowip={LOOPBACK}"]
        argv += [f"-rpcuser={_USER}", f"-rpcpassword={_PASSWORD}", *self.flags()]
        with (self._home / "output.log").open("ab") as output:
            self._process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        assert wait_until(self._answers, _START_SECONDS), f"{self.name} does not start: {argv}"

    def stop(self) -> None:
        if self._process is not None:
            stop(self._process, by=signal.SIGTERM, patience_seconds=20.0)
            self._process = None

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(f"http://{LOOPBACK}:{self._port}", _USER, _PASSWORD)

    @property
    def pid(self) -> int:
        assert self._process is not None, "the node does not run"
        return self._process.pid

    def flags(self) -> list[str]:
        """What else this program is started with."""
        return []

    def fund(self, address: str, koinu: int) -> str:
        script = script_of_address(address, NETWORK)
        for _ in range(self.maturity + 200):
            carried = self.miner.pay(self._purse(), script, koinu, rules_of(NETWORK))
            if carried is not None:
                txid: str = self.call("sendrawtransaction", carried.raw.hex())
                return txid
            self.mine(self.maturity if self.call("getblockcount") < self.maturity else 1)
        raise AssertionError(f"the miner of {self.name} has no {koinu} koinu")

    def reorganise(self, depth: int, *, empty: bool = False) -> list[str]:
        lowest = self.call("getblockhash", self.call("getblockcount") - depth + 1)
        self.call("invalidateblock", lowest)
        if empty:
            return [self.mine_empty() for _ in range(depth + 1)]
        hashes: list[str] = self.call("generatetoaddress", depth + 1, _ELSEWHERE)
        return hashes

    @abstractmethod
    def mine_empty(self) -> str:
        """A block that leaves the mempool as it is."""

    def _answers(self) -> bool:
        assert self._process is not None
        assert alive(self._process), f"{self.name} ended: see {self._home}/output.log"
        try:
            self.call("getblockcount")
        except (NodeUnreachable, RpcError):
            return False
        return True

    def _purse(self) -> list[tuple[tuple[str, int], Coin]]:
        """What the miner may spend now, by reading the chain from its beginning."""
        found: dict[tuple[str, int], Coin] = {}
        height = self.call("getblockcount")
        for at in range(1, height + 1):
            for place, body in enumerate(self._transactions(at)):
                for each in body["vin"]:
                    found.pop((each.get("txid", ""), each.get("vout", 0)), None)
                for out in body["vout"]:
                    if out["scriptPubKey"]["hex"] == self.miner.script.hex():
                        koinu = round(out["value"] * 100_000_000)
                        coin = Coin(koinu, self.miner.script, at, place == 0)
                        found[body["txid"], out["n"]] = coin
        ripe = height + 1 - self.maturity
        return [
            (outpoint, coin)
            for outpoint, coin in found.items()
            if (not coin.coinbase or coin.height <= ripe) and self.call("gettxout", *outpoint)
        ]

    def _transactions(self, height: int) -> Sequence[dict[str, Any]]:
        block = self.call("getblock", self.call("getblockhash", height), 2)
        transactions: list[dict[str, Any]] = block["tx"]
        return transactions


class Litecoind(ForeignNode):
    """Litecoin's: an engine by other hands, with other fees and another first block."""

    name = "litecoind"
    maturity = 100
    genesis = "530827f38f93b43ed12af0b3ad25a288dc02ed74d6d7857862df51fc56c416f9"

    def flags(self) -> list[str]:
        # Without the first, mining ends at height 431; the last is on in Dogecoin by default.
        return ["-vbparams=mweb:-2:0", "-disablewallet", "-mempoolreplacement=1"]

    def mine_empty(self) -> str:
        block_hash: str = self.call("generateblock", _ELSEWHERE, [])["hash"]
        return block_hash


class Dogecoind(ForeignNode):
    """The real one, 1.14.7 or later."""

    name = "dogecoind"
    maturity = 60
    genesis = OurNode.genesis

    def flags(self) -> list[str]:
        return ["-disablewallet"]

    def mine_empty(self) -> str:
        waiting = self.call("getrawmempool")
        for txid in waiting:
            self.call("prioritisetransaction", txid, -(10**16), -(10**14))
        block_hash: str = self.call("generatetoaddress", 1, _ELSEWHERE)[0]
        for txid in waiting:
            self.call("prioritisetransaction", txid, 10**16, 10**14)
        return block_hash


def real_kinds() -> list[str]:
    """The real nodes that tests are run on: litecoind always, dogecoind where it is."""
    return ["litecoind"] + (["dogecoind"] if shutil.which("dogecoind") else [])


def make(kind: str, home: Path) -> RunningNode:
    """A node that is not started yet; skips or fails the test where its program is missing."""
    if kind == "ours":
        return OurNode(home)
    if kind == "dogecoind":
        return Dogecoind(Path(shutil.which("dogecoind") or kind), home)
    program = litecoin.find()
    if program is None:
        said = "litecoind is not installed: `apt-get install litecoind` lets this test run"
        (pytest.fail if litecoin.required() else pytest.skip)(said)
    return Litecoind(program, home)


def _run(kind: str, home: Path) -> Iterator[RunningNode]:
    node = make(kind, home)
    try:
        node.start()
        yield node
    finally:
        node.stop()


@pytest.fixture
def our_node(tmp_path: Path) -> Iterator[OurNode]:
    """A fresh node of our own, as a process."""
    for node in _run("ours", tmp_path / "node"):
        assert isinstance(node, OurNode)
        yield node


@pytest.fixture(params=real_kinds())
def real_node(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningNode]:
    """A fresh node that others wrote."""
    yield from _run(request.param, tmp_path / "node")


@pytest.fixture(params=["ours", *real_kinds()])
def any_node(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningNode]:
    """A fresh node of each kind, one after the other."""
    yield from _run(request.param, tmp_path / "node")


def differs(request: pytest.FixtureRequest, node: RunningNode, **reasons: str) -> None:
    """Expect the test to fail on a node, for a reason that is known; strictly."""
    if node.name in reasons:
        request.applymarker(pytest.mark.xfail(strict=True, reason=reasons[node.name]))
