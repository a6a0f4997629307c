"""Script as a list of operations, and how Core writes it down for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from processors.dogecoin.hashes import hash160
from processors.dogecoin.scripts import address_of_script, p2pkh_script
from schemas.addresses import NETWORKS, encode_address
from streams.local.node.signatures import is_public_key, parse_der

OP_0: Final = 0x00
OP_PUSHDATA1: Final = 0x4C
OP_PUSHDATA4: Final = 0x4E
OP_1NEGATE: Final = 0x4F
OP_1: Final = 0x51
OP_16: Final = 0x60
OP_VERIFY: Final = 0x69
OP_RETURN: Final = 0x6A
OP_DROP: Final = 0x75
OP_DUP: Final = 0x76
OP_EQUAL: Final = 0x87
OP_EQUALVERIFY: Final = 0x88
OP_HASH160: Final = 0xA9
OP_CHECKSIG: Final = 0xAC
OP_CHECKSIGVERIFY: Final = 0xAD
OP_CHECKMULTISIG: Final = 0xAE
OP_CHECKMULTISIGVERIFY: Final = 0xAF

_NAMES: Final = {
    OP_VERIFY: "OP_VERIFY",
    OP_RETURN: "OP_RETURN",
    OP_DROP: "OP_DROP",
    OP_DUP: "OP_DUP",
    OP_EQUAL: "OP_EQUAL",
    OP_EQUALVERIFY: "OP_EQUALVERIFY",
    OP_HASH160: "OP_HASH160",
    OP_CHECKSIG: "OP_CHECKSIG",
    OP_CHECKSIGVERIFY: "OP_CHECKSIGVERIFY",
    OP_CHECKMULTISIG: "OP_CHECKMULTISIG",
    OP_CHECKMULTISIGVERIFY: "OP_CHECKMULTISIGVERIFY",
}
_KEYS_MAX: Final = 3


class ScriptUnreadable(ValueError):
    """A script that ends within what it pushes."""


class Operation(NamedTuple):
    """One step: a push has data, everything else has none."""

    code: int
    data: bytes | None


class Kind(NamedTuple):
    """What sort of output a script makes: Core's name for it, and whom it pays."""

    name: str
    required: int
    addresses: tuple[str, ...]


def operations(script: bytes) -> Iterator[Operation]:
    """The steps of a script; raises ``ScriptUnreadable`` where it breaks off."""
    at = 0
    while at < len(script):
        code = script[at]
        at += 1
        if code > OP_PUSHDATA4:
            yield Operation(code, None)
            continue
        length = code
        if code >= OP_PUSHDATA1:
            width = 1 << (code - OP_PUSHDATA1)
            if at + width > len(script):
                raise ScriptUnreadable("a push without its length")
            length = int.from_bytes(script[at : at + width], "little")
            at += width
        if at + length > len(script):
            raise ScriptUnreadable("a push without its data")
        yield Operation(code, script[at : at + length])
        at += length


def push(data: bytes) -> bytes:
    """The shortest push of data of up to 255 bytes."""
    if len(data) < OP_PUSHDATA1:
        return bytes((len(data),)) + data
    return bytes((OP_PUSHDATA1, len(data))) + data


def is_push_only(script: bytes) -> bool:
    """Whether nothing but pushes is in it (CScript::IsPushOnly)."""
    try:
        return all(step.code <= OP_16 for step in operations(script))
    except ScriptUnreadable:
        return False


def in_words(script: bytes, *, signatures: bool = False) -> str:
    """A script as ScriptToAsmStr writes it; ``signatures`` says that of an input."""
    words = []
    try:
        for step in operations(script):
            words.append(_word(step, signatures))
    except ScriptUnreadable:
        words.append("[error]")
    return " ".join(words)


def kind_of(script: bytes, network: str) -> Kind:
    """The kind of an output's script, as Core's Solver and ExtractDestinations see it."""
    address = address_of_script(script, network)
    if address is not None:
        return Kind("pubkeyhash" if len(script) == 25 else "scripthash", 1, (address,))
    if script[:1] == bytes((OP_RETURN,)) and is_push_only(script[1:]):
        return Kind("nulldata", 0, ())
    try:
        steps = list(operations(script))
    except ScriptUnreadable:
        return Kind("nonstandard", 0, ())
    if len(steps) == 2 and steps[1].code == OP_CHECKSIG and is_public_key(steps[0].data or b""):
        return Kind("pubkey", 1, (_address_of_key(steps[0].data or b"", network),))
    required, keys = multisig_of(steps)
    if required:
        return Kind("multisig", required, tuple(_address_of_key(key, network) for key in keys))
    return Kind("nonstandard", 0, ())


def multisig_of(steps: list[Operation]) -> tuple[int, list[bytes]]:
    """How many signatures of which keys a bare multi-signature script asks for; (0, []) if none."""
    if len(steps) < 4 or steps[-1].code != OP_CHECKMULTISIG:
        return 0, []
    required, count = small_number(steps[0].code), small_number(steps[-2].code)
    keys = [step.data or b"" for step in steps[1:-2]]
    if not 1 <= required <= count or count != len(keys) or not all(map(is_public_key, keys)):
        return 0, []
    return required, keys


def is_standard_output(script: bytes, network: str, data_max: int) -> bool:
    """Whether nodes relay a transaction that pays to it (IsStandard)."""
    kind = kind_of(script, network)
    match kind.name:
        case "nonstandard":
            return False
        case "multisig":
            return len(kind.addresses) <= _KEYS_MAX
        case "nulldata":
            return len(script) <= data_max
        case _:
            return True


def small_number(code: int) -> int:
    """The number that OP_1 to OP_16 push, and 0 for anything else."""
    return code - OP_1 + 1 if OP_1 <= code <= OP_16 else 0


def _address_of_key(public_key: bytes, network: str) -> str:
    return encode_address(NETWORKS[network].p2pkh, p2pkh_script(hash160(public_key))[3:23])


def _word(step: Operation, signatures: bool) -> str:
    if step.data is None:
        if step.code == OP_1NEGATE:
            return "-1"
        number = small_number(step.code)
        return str(number) if number else _NAMES.get(step.code, "OP_UNKNOWN")
    data = step.data
    if len(data) <= 4:
        return str(_as_number(data))
    if signatures and data[-1] == 1 and parse_der(data[:-1]) is not None:
        return f"{data[:-1].hex()}[ALL]"
    return data.hex()


def _as_number(data: bytes) -> int:
    number = int.from_bytes(data, "little")
    if data and data[-1] & 0x80:
        return -(number - (0x80 << 8 * (len(data) - 1)))
    return number
