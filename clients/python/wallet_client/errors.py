"""What can go wrong, by what a caller does about it.

A refusal by the wallet is ``Rejected`` and final; a request that the API does not take is
``Refused``; and where nobody knows what became of a command it is ``OutcomeUnknown``, never a
failure: send the same again, with the same key.
"""

from __future__ import annotations

from typing import Final

from wallet_client.tables import DEAD_LETTERS


class WalletError(Exception):
    """The root of all that this client raises."""


class Refusal(WalletError):
    """Something was refused: ``code`` for programs, ``detail`` for people.

    ``command_id`` names the command, where there is one; ``status`` is HTTP's, where it came by
    REST.
    """

    def __init__(
        self,
        code: str,
        detail: str = "",
        *,
        command_id: str | None = None,
        status: int | None = None,
        idempotency_key: str | None = None,
    ) -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code = code
        self.detail = detail
        self.command_id = command_id
        self.status = status
        self.idempotency_key = idempotency_key


class Rejected(Refusal):
    """The wallet decided against the command, for ever: to try again takes a new key."""


class InsufficientFunds(Rejected):
    """Less than this is available."""


class WalletFrozen(Rejected):
    """The wallet may not lock, pay or withdraw."""


class KeyReused(Rejected):
    """The idempotency key was used for another request; the first stands."""


class AddressRejected(Rejected):
    """The address to pay to cannot be used."""


class DepositRejected(Rejected):
    """The deposit is not as the command says."""


class EscrowRejected(Rejected):
    """The escrow, its parties or its state do not allow it."""


class WithdrawalRejected(Rejected):
    """The withdrawal's state or amount does not allow it."""


class LockRejected(Rejected):
    """Less than this is locked under the reference."""


class HouseRejected(Rejected):
    """A command of operators, watcher or payer that does not fit."""


class BalanceOverflow(Rejected):
    """The balance would be more than an amount holds."""


class Malformed(Refusal):
    """What was sent cannot be read as a command. Nothing moved; mend it and send it again."""


class Refused(Refusal):
    """The API did not take the request. Nothing moved."""


class BadRequest(Refused):
    """The request is not as the contract has it."""


class Unauthorized(Refused):
    """The token is missing, expired or not trusted."""


class Forbidden(Refused):
    """The token may not do this."""


class NotFound(Refused):
    """There is nothing of yours at this place."""


class Unavailable(Refused):
    """The wallet could not answer in time, and nothing was sent. Try again with the same key."""


class OutcomeUnknown(WalletError):
    """Nobody can say yet what became of the command: retry with the same key."""

    def __init__(self, key: str, why: str, command_id: str | None = None) -> None:
        super().__init__(f"unknown: retry with the same key {key} ({why})")
        self.idempotency_key = key
        self.command_id = command_id


class UnexpectedAnswer(WalletError):
    """Something else than the wallet's API answered."""


_BY_PREFIX: Final[tuple[tuple[str, type[Rejected]], ...]] = (
    ("address_", AddressRejected),
    ("deposit_", DepositRejected),
    ("escrow_", EscrowRejected),
    ("withdrawal_", WithdrawalRejected),
    ("lock_", LockRejected),
    ("fee_", HouseRejected),
)
_BY_CODE: Final[dict[str, type[Refusal]]] = {
    "insufficient_funds": InsufficientFunds,
    "wallet_frozen": WalletFrozen,
    "key_reused": KeyReused,
    "self_dealing": EscrowRejected,
    "house_seller": EscrowRejected,
    "below_minimum": WithdrawalRejected,
    "above_maximum": WithdrawalRejected,
    "wrong_ordinal": HouseRejected,
    "same_account": HouseRejected,
    "not_frozen": HouseRejected,
    "rules_invalid": HouseRejected,
    "account_in_force": HouseRejected,
    "balance_overflow": BalanceOverflow,
    "command_not_found": NotFound,
    "no_such_path": NotFound,
}
_BY_STATUS: Final[dict[int, type[Refusal]]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    429: Unavailable,
    503: Unavailable,
}


def family_of(code: str, status: int | None = None) -> type[Refusal]:
    """The class that a code is raised as; a code of tomorrow's is judged by its status."""
    if code in DEAD_LETTERS:
        return Malformed
    if code in _BY_CODE:
        return _BY_CODE[code]
    for prefix, family in _BY_PREFIX:
        if code.startswith(prefix):
            return family
    if status is None or status in {402, 409, 422}:
        return Rejected
    return _BY_STATUS.get(status, BadRequest)
