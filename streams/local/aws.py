"""An embedded AWS emulator: moto's server, for the services that the wallet uses of AWS.

It keeps nothing and asks nobody who he is: whoever reaches the loopback can read what is in it. So
it holds keys of test networks alone, put there again from ``.wallet/keys`` at each start.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from schemas.settings import Settings
from streams.local import keys
from streams.local.asking import answers
from streams.local.embedded import EmbeddedServer
from streams.local.errors import StackError
from streams.local.process import LOOPBACK, spawn

REGION: Final = "eu-central-1"
#: The emulator takes any; the clients want some.
CREDENTIALS: Final = ("local", "local")

_START_SECONDS: Final = 30.0


def available() -> bool:
    """Whether moto is installed."""
    return find_spec("moto") is not None and find_spec("flask") is not None


def secret_name(network: str, number: int = 1) -> str:
    """Where the private key of the local account of this number is put."""
    return f"wallet/{network}/account" + ("" if number == 1 else f"-{number}")


class EmbeddedAws(EmbeddedServer):
    """One emulator on the loopback, filled from ``home`` each time it starts."""

    name = "AWS emulator"
    origin = "embedded moto"

    def __init__(self, home: Path, *, port: int, network: str) -> None:
        super().__init__(
            port=port, log=home / "logs" / "aws.log", pid_file=home / "run" / "aws.pid"
        )
        self._home = home
        self._network = network

    @property
    def address(self) -> str:
        """What WALLET_AWS_ENDPOINT_URL is set to."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def secrets(self) -> str:
        """What WALLET_ACCOUNT_SECRET is set to: a secret for each account of this home."""
        count = len(keys.accounts(self._home, self._network)) if self._has_accounts else 1
        return ",".join(secret_name(self._network, number) for number in range(1, count + 1))

    @property
    def _has_accounts(self) -> bool:
        # A given xpub's key is elsewhere, and none is made for it.
        return (self._home / "keys" / f"{self._network}.json").exists()

    def environment(self) -> dict[str, str]:
        """What a process is started with, so that it finds the emulator and its secret."""
        return {
            "WALLET_AWS_ENDPOINT_URL": self.address,
            "WALLET_AWS_REGION": REGION,
            "WALLET_ACCOUNT_SECRET": self.secrets,
            "AWS_ACCESS_KEY_ID": CREDENTIALS[0],
            "AWS_SECRET_ACCESS_KEY": CREDENTIALS[1],
        }

    def start(self) -> None:
        """Start, and return when it serves and has what it should have."""
        if not available():
            raise StackError(
                "no AWS emulator: install the wallet with its local stack (`make setup` does), or "
                "give AWS itself by WALLET_AWS_REGION and WALLET_ACCOUNT_SECRET"
            )
        self._make_way("--aws-port")
        self._process = spawn(
            [sys.executable, "-m", "moto.server", "--host", LOOPBACK, "--port", str(self.port)],
            log=self._log,
            pid_file=self._pid_file,
        )
        self._await(lambda: answers(f"{self.address}/moto-api/"), _START_SECONDS)
        self._fill()

    def _fill(self) -> None:
        """Put the local accounts' keys there, if there are any."""
        if not self._has_accounts:
            return
        # Here, since the libraries take a second to load.
        from processors.dogecoin.hidden import Hidden
        from streams.secrets import Secrets

        for number, account in enumerate(keys.accounts(self._home, self._network), 1):
            settings = Settings(
                network=self._network,
                account_secret=secret_name(self._network, number),
                aws_endpoint_url=self.address,
                aws_region=REGION,
            )
            Secrets(settings, credentials=CREDENTIALS).store(Hidden(account.account_xprv))
