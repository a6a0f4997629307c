"""Why a record or a command is refused: one list in order of precedence, one line each.

A record that is refused before ``FIRST_BUSINESS`` cannot be read as a command: it becomes a dead
letter. From there on the command was understood; its rejection is its outcome, stored and
published exactly like an acceptance.
"""

from __future__ import annotations

from typing import Final

from schemas.words import Word


class Rejection(Word):
    """Each reason with its documented line; the earlier one wins where several apply."""

    line: str

    def __new__(cls, code: str, line: str) -> Rejection:
        member = str.__new__(cls, code)
        member._value_ = code
        member.line = line
        return member

    # The record.
    EMPTY_RECORD = "empty_record", "The record has no value; send the command as a JSON object."
    TOO_LARGE = "too_large", "The record is over 16 KiB; a command needs far less."
    NOT_UTF8 = "not_utf8", "The value is not UTF-8 text."
    NOT_JSON = "not_json", "The value is not one JSON document."
    NOT_AN_OBJECT = "not_an_object", "The value is JSON, but not an object."
    UNKNOWN_FIELD = "unknown_field", "The envelope or its data has a field that the type lacks."
    MISSING_FIELD = "missing_field", "A field of the envelope or of its data is missing."
    WRONG_TYPE = "wrong_type", "A field has another JSON type than its schema says."
    WRONG_VERSION = "wrong_version", "This version of the command is not known here; send 1."
    UNKNOWN_TYPE = "unknown_type", "There is no command of this type."
    NOT_PERMITTED_HERE = "not_permitted_here", "This type may not come by this topic."
    BAD_USER_ID = "bad_user_id", "A user is a canonical UUID: lower case, with hyphens."
    KEY_MISMATCH = "key_mismatch", "The record's key is not the user_id of the command."
    MISPLACED = "misplaced", "The partition is not the key's; use partitioner=murmur2_random."
    BAD_ID = "bad_id", "An id in the data is not a canonical UUID or transaction id."
    BAD_IDEMPOTENCY_KEY = "bad_idempotency_key", "An idempotency key has 1 to 255 characters."
    BAD_TEXT = "bad_text", "A text is empty or longer than its schema allows."
    CONTROL_CHARACTERS = "control_characters", "A text contains control characters."
    BAD_NUMBER = "bad_number", "A number is outside the range that its schema allows."
    BAD_CHOICE = "bad_choice", "A text is none of the values that its schema lists."
    BAD_TIME = "bad_time", "A time is RFC 3339 with its offset: 2026-01-31T12:00:00Z."
    AMOUNT_NOT_TEXT = "amount_not_text", 'An amount is JSON text such as "12.5", never a number.'
    AMOUNT_MALFORMED = "amount_malformed", "An amount is plain decimal digits with one point."
    AMOUNT_NEGATIVE = "amount_negative", "An amount must not be negative."
    AMOUNT_TOO_PRECISE = "amount_too_precise", "An amount has at most eight decimals."
    AMOUNT_TOO_LARGE = "amount_too_large", "An amount must fit into 63 bits of koinu."
    AMOUNT_ZERO = "amount_zero", "An amount must be more than zero."
    WRONG_USER = "wrong_user", "House commands are keyed by the house user, all others never."
    UNPROCESSABLE = "unprocessable", "The database refuses this one command; an operator is told."

    # The key.
    KEY_REUSED = "key_reused", "This idempotency key was used for another request; take a new one."

    # The noun that the command is about.
    ADDRESS_MALFORMED = "address_malformed", "The address is not Base58Check; check every letter."
    ADDRESS_WRONG_NETWORK = "address_wrong_network", "The address is of another network."
    ADDRESS_OWN = "address_own", "The address is one of the user's own deposit addresses."
    ADDRESS_NOT_YOURS = "address_not_yours", "The deposit's address was never given to this user."
    DEPOSIT_MISMATCH = "deposit_mismatch", "The outpoint is known with other facts."
    DEPOSIT_UNKNOWN = "deposit_unknown", "No such deposit was recorded."
    DEPOSIT_CREDITED = "deposit_credited", "The deposit is credited already."
    DEPOSIT_NOT_CREDITED = "deposit_not_credited", "The deposit is not credited at present."
    DEPOSIT_BELOW_MINIMUM = (
        "deposit_below_minimum",
        "The deposit is under the minimum; it stays recorded and is not credited.",
    )
    ESCROW_NOT_FOUND = "escrow_not_found", "There is no such escrow of this buyer."
    ESCROW_EXISTS = "escrow_exists", "This buyer has an escrow for this order already."
    ESCROW_CLOSED = "escrow_closed", "Nothing remains in this escrow."
    ESCROW_DISPUTED = "escrow_disputed", "The escrow is disputed; resolve the dispute first."
    ESCROW_NOT_DISPUTED = "escrow_not_disputed", "The escrow is not disputed."
    ESCROW_PARTS_MISMATCH = "escrow_parts_mismatch", "The shares do not add up to what remains."
    ESCROW_INSUFFICIENT = "escrow_insufficient", "Less than this remains in the escrow."
    SELF_DEALING = "self_dealing", "Buyer and seller are the same user."
    HOUSE_SELLER = "house_seller", "The house has no wallet and sells nothing; name the seller."
    WITHDRAWAL_NOT_FOUND = "withdrawal_not_found", "There is no such withdrawal of this user."
    WITHDRAWAL_WRONG_STATUS = (
        "withdrawal_wrong_status",
        "The withdrawal's status does not allow this.",
    )
    WITHDRAWAL_TXID_MISMATCH = (
        "withdrawal_txid_mismatch",
        "The withdrawal was confirmed by another transaction.",
    )
    BELOW_MINIMUM = "below_minimum", "The amount is under the minimum of a withdrawal."
    ABOVE_MAXIMUM = "above_maximum", "The amount is over the maximum of a withdrawal."
    LOCK_INSUFFICIENT = "lock_insufficient", "Less than this is locked under the reference."
    FEE_POSTED = "fee_posted", "The network fee of this transaction is posted already."
    FEE_NOT_POSTED = "fee_not_posted", "No network fee of this transaction is posted."
    FEE_MISMATCH = "fee_mismatch", "The transaction's network fee is known with another amount."
    WRONG_ORDINAL = (
        "wrong_ordinal",
        "The ordinal is not that of the present or next crediting or posting.",
    )
    SAME_ACCOUNT = "same_account", "Source and target are the same account."
    NOT_FROZEN = "not_frozen", "The wallet is not frozen by an operator."
    RULES_INVALID = "rules_invalid", "The rules contradict themselves."
    ACCOUNT_IN_FORCE = "account_in_force", "Addresses are derived from this account already."

    # The wallet.
    WALLET_FROZEN = "wallet_frozen", "The wallet is frozen: it may not lock, pay or withdraw."
    INSUFFICIENT_FUNDS = "insufficient_funds", "Less than this is available."
    BALANCE_OVERFLOW = "balance_overflow", "The balance would be more than 63 bits of koinu hold."


_ORDER: Final = {code: place for place, code in enumerate(Rejection)}
FIRST_BUSINESS: Final = Rejection.KEY_REUSED


def precedence(code: Rejection) -> int:
    """Place in the list; the smaller one is told where several apply."""
    return _ORDER[code]


def is_dead_letter(code: Rejection) -> bool:
    """True for what cannot be read as a command at all."""
    return _ORDER[code] < _ORDER[FIRST_BUSINESS]


class Malformed(ValueError):
    """A record, request or setting that cannot be read, with the code and what was wrong."""

    def __init__(self, code: Rejection, detail: str = "") -> None:
        super().__init__(f"{code.value}: {detail or code.line}")
        self.code = code
        self.detail = detail or code.line
