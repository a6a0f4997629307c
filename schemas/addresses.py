"""Dogecoin addresses: which network one belongs to, and whether every letter of it is right.

Two kinds can be paid: P2PKH and P2SH, in Base58Check. There is no SegWit on Dogecoin, so a bech32
address is malformed. Version bytes: src/chainparams.cpp of Dogecoin Core 1.14.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final, NamedTuple

from schemas.rejections import Rejection


class Network(NamedTuple):
    """What tells the addresses of one network: the version byte of each kind."""

    name: str
    p2pkh: int
    p2sh: int


NETWORKS: Final = {
    network.name: network
    for network in (
        Network("mainnet", p2pkh=0x1E, p2sh=0x16),
        Network("testnet", p2pkh=0x71, p2sh=0xC4),
        Network("regtest", p2pkh=0x6F, p2sh=0xC4),
    )
}

_ALPHABET: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_DIGITS: Final = {letter: digit for digit, letter in enumerate(_ALPHABET)}
#: One version byte, twenty of hash, four of checksum.
_PAYLOAD_BYTES: Final = 25
_LETTERS_MIN: Final = 25
_LETTERS_MAX: Final = 36


def check_address(text: str, network: str) -> Rejection | None:
    """None if coins can be sent to ``text`` on ``network``, else what is wrong with it."""
    payload = decode_address(text)
    if payload is None:
        return Rejection.ADDRESS_MALFORMED
    expected = NETWORKS[network]
    version = payload[0]
    if version != expected.p2pkh and version != expected.p2sh:
        return Rejection.ADDRESS_WRONG_NETWORK
    return None


def decode_address(text: str) -> bytes | None:
    """The 21 bytes of an address, version and hash; None unless its checksum holds."""
    if not _LETTERS_MIN <= len(text) <= _LETTERS_MAX:
        return None
    number = 0
    try:
        for letter in text:
            number = number * 58 + _DIGITS[letter]
    except KeyError:
        return None
    zeros = len(text) - len(text.lstrip("1"))
    length = (number.bit_length() + 7) // 8
    if zeros + length != _PAYLOAD_BYTES:
        return None
    whole = number.to_bytes(_PAYLOAD_BYTES, "big")
    payload, checksum = whole[:-4], whole[-4:]
    if sha256(sha256(payload).digest()).digest()[:4] != checksum:
        return None
    return payload


def encode_address(version: int, hash160: bytes) -> str:
    """The address of a version byte and the 20 bytes of a hash."""
    payload = bytes((version,)) + hash160
    whole = payload + sha256(sha256(payload).digest()).digest()[:4]
    number = int.from_bytes(whole, "big")
    letters = ""
    while number:
        number, digit = divmod(number, 58)
        letters = _ALPHABET[digit] + letters
    zeros = len(whole) - len(whole.lstrip(b"\0"))
    return "1" * zeros + letters
