"""Signatures as Core checks them: strict DER (BIP 66), low S, and the curve's own answer."""

from __future__ import annotations

from typing import Final

import coincurve

#: The order of secp256k1's group.
ORDER: Final = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
_HALF: Final = ORDER // 2
_NUMBER_MAX: Final = 33


class SigningKey:
    """A private key of the node's own: worth nothing, and still not shown."""

    def __init__(self, secret: bytes) -> None:
        self._key = coincurve.PrivateKey(secret)
        self.public_key = self._key.public_key.format(compressed=True)

    def sign(self, digest: bytes) -> bytes:
        """A strict, low signature of a digest; the same each time (RFC 6979)."""
        return self._key.sign(digest, hasher=None)


def parse_der(der: bytes) -> tuple[int, int] | None:
    """The two numbers of a strictly encoded signature; None for any other encoding (BIP 66)."""
    if len(der) < 8 or der[0] != 0x30 or der[1] != len(der) - 2:
        return None
    first = _number(der, 2)
    if first is None:
        return None
    second = _number(der, first[1])
    if second is None or second[1] != len(der):
        return None
    return first[0], second[0]


def encode_der(r: int, s: int) -> bytes:
    """Two numbers as a strict signature."""
    parts = b"".join(_encoded(number) for number in (r, s))
    return bytes((0x30, len(parts))) + parts


def is_low(s: int) -> bool:
    """Whether it is the smaller of the two numbers that would do."""
    return s <= _HALF


def twin(der: bytes) -> bytes:
    """The other signature that is as valid: it changes a txid, and nothing that is signed."""
    numbers = parse_der(der)
    if numbers is None:
        raise ValueError("not a strict signature")
    return encode_der(numbers[0], ORDER - numbers[1])


def is_public_key(data: bytes) -> bool:
    """Whether it has the form of a key, compressed or not."""
    return (len(data) == 33 and data[0] in (2, 3)) or (len(data) == 65 and data[0] == 4)


def verify(public_key: bytes, digest: bytes, r: int, s: int) -> bool:
    """Whether the key signed the digest; S may be high, as the chain itself allows."""
    if not (0 < r < ORDER and 0 < s < ORDER):
        return False
    try:
        key = coincurve.PublicKey(public_key)
    except ValueError:
        return False
    return bool(key.verify(encode_der(r, min(s, ORDER - s)), digest, hasher=None))


def _number(der: bytes, at: int) -> tuple[int, int] | None:
    """A positive number in as few bytes as it needs, and where it ends."""
    if at + 2 > len(der) or der[at] != 0x02:
        return None
    length = der[at + 1]
    data = der[at + 2 : at + 2 + length]
    if not 0 < length <= _NUMBER_MAX or len(data) != length or data[0] & 0x80:
        return None
    if length > 1 and data[0] == 0 and not data[1] & 0x80:
        return None
    return int.from_bytes(data, "big"), at + 2 + length


def _encoded(number: int) -> bytes:
    data = number.to_bytes(number.bit_length() // 8 + 1, "big")
    return bytes((0x02, len(data))) + data
