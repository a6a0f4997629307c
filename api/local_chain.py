"""What the local wallet has of the world: a node, an AWS, and the processes that work with them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from schemas.settings import Settings
from streams.local import keys
from streams.local.aws import REGION, EmbeddedAws
from streams.local.node.embedded import EmbeddedNode

#: A chain of one's own has nobody who could undo its blocks; waiting as on Dogecoin's would only
#: make a newcomer wait.
_RULES_CONFIRMATIONS: Final = "2,4@100000"
_POLL_SECONDS: Final = 0.5
_PAYOUT_WAIT_SECONDS: Final = 1.0
#: The networks that the small node knows.
_PLAYGROUNDS: Final = ("regtest", "testnet")


@dataclass(frozen=True)
class LocalChain:
    """What of it runs here; the rest is somebody else's, or is left out."""

    node: EmbeddedNode | None
    aws: EmbeddedAws | None
    #: ``watcher``, ``payer``, ``bridge`` and ``views``, where they have what they need.
    services: tuple[str, ...]
    #: Why something is left out, each in a line.
    notes: tuple[str, ...]

    @property
    def servers(self) -> tuple[EmbeddedNode | EmbeddedAws, ...]:
        """Those that are ours, in the order in which they start."""
        return tuple(server for server in (self.node, self.aws) if server is not None)

    def settings(self, given: Settings) -> Settings:
        """The settings with what runs here; what was given stays."""
        own: dict[str, object] = {}
        if self.node is not None:
            default = Settings()
            own = {
                "node_url": self.node.address,
                "node_cookie": str(self.node.cookie),
                "rules_confirmations": _RULES_CONFIRMATIONS,
                "poll_seconds": _POLL_SECONDS,
                "payout_wait_seconds": _PAYOUT_WAIT_SECONDS,
            }
            own = {
                name: value
                for name, value in own.items()
                if getattr(given, name) == getattr(default, name)
            }
        if self.aws is not None:
            own |= {"aws_endpoint_url": self.aws.address, "aws_region": REGION}
            if "payer" in self.services:
                own["account_secret"] = self.aws.secrets
        return msgspec.structs.replace(given, **own)


def provide_chain(
    home: Path, given: Settings, ports: keys.Ports, *, key_is_ours: bool, block_seconds: float
) -> LocalChain:
    """What is to be started of it; ``key_is_ours`` where the account's key is in ``home``."""
    node = aws = None
    if not given.node_url and given.network in _PLAYGROUNDS:
        node = EmbeddedNode(
            home, port=ports.node, network=given.network, block_seconds=block_seconds
        )
    if not (given.account_secret or given.aws_endpoint_url or given.aws_region):
        aws = EmbeddedAws(home, port=ports.aws, network=given.network)
    services, notes = [], []
    if node is None and not given.node_url:
        notes.append(f"no watcher and no payer: give a node on {given.network} by WALLET_NODE_URL")
    else:
        services.append("watcher")
        if given.account_secret or (key_is_ours and aws is not None):
            services.append("payer")
        else:
            notes.append(
                "no payer: WALLET_ACCOUNT_SECRET does not say where the private key of "
                "WALLET_ACCOUNT_XPUB is kept"
            )
    services += ["bridge", "views"]
    return LocalChain(node, aws, tuple(services), tuple(notes))
