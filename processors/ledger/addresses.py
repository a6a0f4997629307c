"""Decisions on deposit addresses: each user has one active, and is paid on every older one."""

from __future__ import annotations

import msgspec

from processors.ledger.model import Acceptance, Books, Decision, Notice, Request
from schemas.amounts import format_amount
from schemas.commands import AssignAddress
from schemas.events import AddressResult, EventType
from schemas.records import DepositAddress, Record, Rules


def assign_address(request: Request, data: AssignAddress, books: Books) -> Decision:
    """Show the active address, or make the account's next one the active address.

    An address of a former account gives way to one of the present account, asked or not: the
    former's key may be in other hands.

    The records name the old address before the new one, since a user has one active at a time.
    """
    active = books.active_address(request.user_id)
    present = active is not None and active.account_key == books.rules.account_key
    if active is not None and present and not data.rotate:
        return _accept(request, active.address, books.rules, ())
    index, address = books.next_address()
    assigned = DepositAddress(
        address=address,
        user_id=request.user_id,
        account_key=books.rules.account_key,
        derivation_index=index,
        assigned_at=request.time,
    )
    if active is None:
        return _accept(request, address, books.rules, (assigned,))
    retired = msgspec.structs.replace(active, active=False)
    return _accept(request, address, books.rules, (retired, assigned))


def _accept(
    request: Request, address: str, rules: Rules, records: tuple[Record, ...]
) -> Acceptance:
    result = AddressResult(
        address=address,
        network=rules.network,
        minimum=format_amount(rules.deposit_minimum),
        confirmations=rules.confirmations[0].confirmations,
    )
    notice = Notice(request.user_id, EventType.ADDRESS_ASSIGNED, result)
    return Acceptance((notice,), records=records)
