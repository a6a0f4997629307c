"""Runs the scripts that payments are made of: P2PKH, P2PK, bare and P2SH multi-signature.

Every other operation is refused as unknown, so that nothing passes here which Core would check
further. Texts are Core's ScriptErrorString.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from processors.dogecoin.hashes import hash160
from processors.dogecoin.transactions import SIGHASH_ALL, Transaction
from streams.local.node import opcodes as op
from streams.local.node.signatures import is_low, is_public_key, parse_der, verify

EVAL_FALSE: Final = (
    "Script evaluated without error but finished with a false/empty top stack element"
)
NULLFAIL: Final = "Signature must be zero for failed CHECK(MULTI)SIG operation"
HIGH_S: Final = "Non-canonical signature: S value is unnecessarily high"
NOT_DER: Final = "Non-canonical DER signature"
EQUALVERIFY: Final = "Script failed an OP_EQUALVERIFY operation"
_PUSH_ONLY: Final = "Only non-push operators allowed in signatures"
_STACK: Final = "Operation not valid with the current stack size"
_OPCODE: Final = "Opcode missing or not understood"
_MINIMAL: Final = "Data push larger than necessary"
_ELEMENT_MAX: Final = 520


class ScriptFailed(Exception):
    """An input has no right to what it spends; the text is Core's."""


class Checker:
    """Checks the signatures of one input."""

    def __init__(self, transaction: Transaction, index: int, *, standard: bool) -> None:
        self._transaction = transaction
        self._index = index
        self.standard = standard

    def signature(self, signature: bytes, public_key: bytes, script: bytes) -> bool:
        """Whether the signature holds; raises ``ScriptFailed`` if its form alone is wrong."""
        if not signature:
            return False
        numbers = parse_der(signature[:-1])
        if numbers is None:
            raise ScriptFailed(NOT_DER)
        if self.standard and not is_low(numbers[1]):
            raise ScriptFailed(HIGH_S)
        # Other types than ALL are valid for Core. Here they are not, as nothing of ours uses them.
        if signature[-1] != SIGHASH_ALL:
            raise ScriptFailed("Signature hash type missing or not understood")
        if self.standard and not is_public_key(public_key):
            raise ScriptFailed("Public key is neither compressed or uncompressed")
        digest = self._transaction.sighash(self._index, script)
        return verify(public_key, digest, *numbers)

    def required(self, holds: bool, signatures: Sequence[bytes]) -> bool:
        """The answer of a check; as policy, a failed one must have had empty signatures."""
        if not holds and self.standard and any(signatures):
            raise ScriptFailed(NULLFAIL)
        return holds


def verify_input(
    transaction: Transaction, index: int, script_pubkey: bytes, *, standard: bool
) -> None:
    """Check input ``index`` against the output it spends, as VerifyScript does.

    ``standard`` adds what nodes ask of a transaction on its way, but not of one in a block: low S,
    shortest pushes, a clean stack. Raises ``ScriptFailed``.
    """
    script_sig = transaction.inputs[index].script_sig
    checker = Checker(transaction, index, standard=standard)
    is_p2sh = len(script_pubkey) == 23 and script_pubkey[0] == op.OP_HASH160
    if (is_p2sh or standard) and not op.is_push_only(script_sig):
        raise ScriptFailed(_PUSH_ONLY)
    stack = _run(script_sig, [], checker)
    pushed = list(stack)
    stack = _run(script_pubkey, stack, checker)
    _require_true(stack)
    if is_p2sh:
        stack = _run(pushed[-1], pushed[:-1], checker)
        _require_true(stack)
    if standard and len(stack) != 1:
        raise ScriptFailed("Extra items left on stack after execution")


def _require_true(stack: list[bytes]) -> None:
    if not stack or not _truth(stack[-1]):
        raise ScriptFailed(EVAL_FALSE)


def _truth(data: bytes) -> bool:
    # Minus zero is false, too.
    return any(data[:-1]) or (data[-1:] not in (b"", b"\x00", b"\x80"))


def _run(script: bytes, stack: list[bytes], checker: Checker) -> list[bytes]:
    """The stack after the script; raises ``ScriptFailed``."""
    try:
        for step in op.operations(script):
            if step.data is not None:
                _push(step, stack, checker)
            elif step.code == op.OP_1NEGATE:
                stack.append(b"\x81")
            elif number := op.small_number(step.code):
                stack.append(bytes((number,)))
            else:
                _OPERATIONS.get(step.code, _unknown)(stack, script, checker)
    except op.ScriptUnreadable:
        raise ScriptFailed(_OPCODE) from None
    except IndexError:
        raise ScriptFailed(_STACK) from None
    return stack


def _push(step: op.Operation, stack: list[bytes], checker: Checker) -> None:
    data = step.data or b""
    if len(data) > _ELEMENT_MAX:
        raise ScriptFailed("Push value size limit exceeded")
    if checker.standard and len(data) <= 255 and step.code != _shortest(data):
        raise ScriptFailed(_MINIMAL)
    stack.append(data)


def _shortest(data: bytes) -> int:
    """The operation that pushes it in the fewest bytes."""
    if len(data) == 1 and 1 <= data[0] <= 16:
        return op.OP_1 - 1 + data[0]
    if data == b"\x81":
        return op.OP_1NEGATE
    return op.push(data)[0]


def _duplicate(stack: list[bytes], script: bytes, checker: Checker) -> None:
    stack.append(stack[-1])


def _drop(stack: list[bytes], script: bytes, checker: Checker) -> None:
    stack.pop()


def _hash160(stack: list[bytes], script: bytes, checker: Checker) -> None:
    stack.append(hash160(stack.pop()))


def _equal(stack: list[bytes], script: bytes, checker: Checker) -> None:
    stack.append(b"\x01" if stack.pop() == stack.pop() else b"")


def _equal_verify(stack: list[bytes], script: bytes, checker: Checker) -> None:
    if stack.pop() != stack.pop():
        raise ScriptFailed(EQUALVERIFY)


def _verify(stack: list[bytes], script: bytes, checker: Checker) -> None:
    if not _truth(stack.pop()):
        raise ScriptFailed("Script failed an OP_VERIFY operation")


def _return(stack: list[bytes], script: bytes, checker: Checker) -> None:
    raise ScriptFailed("OP_RETURN was encountered")


def _check_signature(stack: list[bytes], script: bytes, checker: Checker) -> None:
    public_key, signature = stack.pop(), stack.pop()
    holds = checker.signature(signature, public_key, script)
    stack.append(b"\x01" if checker.required(holds, [signature]) else b"")


def _check_signatures(stack: list[bytes], script: bytes, checker: Checker) -> None:
    keys = [stack.pop() for _ in range(_count(stack, "Pubkey count negative or limit exceeded"))]
    wanted = _count(stack, "Signature count negative or greater than pubkey count")
    if wanted > len(keys):
        raise ScriptFailed("Signature count negative or greater than pubkey count")
    signatures = [stack.pop() for _ in range(wanted)]
    # Core takes one element too many off the stack, and always will.
    if stack.pop() and checker.standard:
        raise ScriptFailed("Dummy CHECKMULTISIG argument must be zero")
    # Both stand in one order, so each key is tried once.
    left = iter(keys)
    holds = all(any(checker.signature(each, key, script) for key in left) for each in signatures)
    stack.append(b"\x01" if checker.required(holds, signatures) else b"")


def _count(stack: list[bytes], otherwise: str) -> int:
    data = stack.pop()
    if len(data) > 1 or data > b"\x14":
        raise ScriptFailed(otherwise)
    return data[0] if data else 0


def _check_signature_verify(stack: list[bytes], script: bytes, checker: Checker) -> None:
    _check_signature(stack, script, checker)
    if not _truth(stack.pop()):
        raise ScriptFailed("Script failed an OP_CHECKSIGVERIFY operation")


def _check_signatures_verify(stack: list[bytes], script: bytes, checker: Checker) -> None:
    _check_signatures(stack, script, checker)
    if not _truth(stack.pop()):
        raise ScriptFailed("Script failed an OP_CHECKMULTISIGVERIFY operation")


def _unknown(stack: list[bytes], script: bytes, checker: Checker) -> None:
    raise ScriptFailed(_OPCODE)


_OPERATIONS: Final[dict[int, Callable[[list[bytes], bytes, Checker], None]]] = {
    op.OP_DUP: _duplicate,
    op.OP_DROP: _drop,
    op.OP_HASH160: _hash160,
    op.OP_EQUAL: _equal,
    op.OP_EQUALVERIFY: _equal_verify,
    op.OP_VERIFY: _verify,
    op.OP_RETURN: _return,
    op.OP_CHECKSIG: _check_signature,
    op.OP_CHECKSIGVERIFY: _check_signature_verify,
    op.OP_CHECKMULTISIG: _check_signatures,
    op.OP_CHECKMULTISIGVERIFY: _check_signatures_verify,
}
