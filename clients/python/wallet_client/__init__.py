"""A typed client of the wallet: REST here, commands and events in ``wallet_client.kafka``."""

from wallet_client.amounts import Amount
from wallet_client.errors import (
    Malformed,
    OutcomeUnknown,
    Refusal,
    Refused,
    Rejected,
    Unavailable,
    WalletError,
)
from wallet_client.exchange import Policy
from wallet_client.rest import AsyncWalletClient, WalletClient

__all__ = [
    "Amount",
    "AsyncWalletClient",
    "Malformed",
    "OutcomeUnknown",
    "Policy",
    "Refusal",
    "Refused",
    "Rejected",
    "Unavailable",
    "WalletClient",
    "WalletError",
]
