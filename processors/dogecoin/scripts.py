"""Output scripts: the two kinds that can be paid, and the one kind that is ours.

A script is compared whole. A node also lists an address for outputs that its owner cannot spend
alone (bare multi-signature), so an address is no proof that an output is ours.
"""

from __future__ import annotations

from typing import Final

from schemas.addresses import NETWORKS, decode_address, encode_address

HASH_BYTES: Final = 20

#: OP_DUP OP_HASH160 <20 bytes> OP_EQUALVERIFY OP_CHECKSIG
_P2PKH_HEAD: Final = bytes.fromhex("76a914")
_P2PKH_TAIL: Final = bytes.fromhex("88ac")
#: OP_HASH160 <20 bytes> OP_EQUAL
_P2SH_HEAD: Final = bytes.fromhex("a914")
_P2SH_TAIL: Final = bytes.fromhex("87")
_P2PKH_HEAD_HEX: Final = _P2PKH_HEAD.hex()
_P2PKH_TAIL_HEX: Final = _P2PKH_TAIL.hex()
_P2PKH_DIGITS: Final = 2 * (len(_P2PKH_HEAD) + HASH_BYTES + len(_P2PKH_TAIL))


class NotPayable(ValueError):
    """An address that no output of this network can pay."""


def p2pkh_script(public_key_hash: bytes) -> bytes:
    """The 25 bytes that pay to a public key's hash of 20 bytes."""
    return _P2PKH_HEAD + _hash160(public_key_hash) + _P2PKH_TAIL


def p2sh_script(script_hash: bytes) -> bytes:
    """The 23 bytes that pay to a script's hash of 20 bytes."""
    return _P2SH_HEAD + _hash160(script_hash) + _P2SH_TAIL


def script_of_address(address: str, network: str) -> bytes:
    """The script that pays ``address``; raises ``NotPayable`` unless it is one of ``network``."""
    payload = decode_address(address)
    if payload is None:
        raise NotPayable(f"{address[:40]!r} is no Dogecoin address")
    versions = NETWORKS[network]
    match payload[0]:
        case versions.p2pkh:
            return p2pkh_script(payload[1:])
        case versions.p2sh:
            return p2sh_script(payload[1:])
        case _:
            raise NotPayable(f"{address} is not an address of {network}")


def public_key_hash_of(script_hex: str) -> bytes | None:
    """The 20 bytes that a P2PKH script, in hex as nodes write it, pays to; None for any other."""
    # A block has thousands of them: only the middle of those that may be one is decoded.
    if len(script_hex) != _P2PKH_DIGITS:
        return None
    if script_hex[:6].lower() != _P2PKH_HEAD_HEX or script_hex[-4:].lower() != _P2PKH_TAIL_HEX:
        return None
    try:
        public_key_hash = bytes.fromhex(script_hex[6:-4])
    except ValueError:
        return None
    # Spaces are no fault to ``fromhex``.
    return public_key_hash if len(public_key_hash) == HASH_BYTES else None


def address_of_script(script: bytes, network: str) -> str | None:
    """The address that a P2PKH or P2SH script pays; None for any other script."""
    versions = NETWORKS[network]
    if len(script) == 25 and script == p2pkh_script(script[3:-2]):
        return encode_address(versions.p2pkh, script[3:-2])
    if len(script) == 23 and script == p2sh_script(script[2:-1]):
        return encode_address(versions.p2sh, script[2:-1])
    return None


def _hash160(digest: bytes) -> bytes:
    if len(digest) != HASH_BYTES:
        raise ValueError(f"a hash of {len(digest)} bytes is not one of {HASH_BYTES}")
    return digest
