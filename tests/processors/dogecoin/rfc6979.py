"""ECDSA as RFC 6979 and SEC 1 write it, in plain numbers: slow, leaking, easy to compare with."""

from __future__ import annotations

import hmac
from typing import Final

FIELD: Final = 2**256 - 2**32 - 977
#: The group's order; a signature's S is at most half of it.
ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
Point = tuple[int, int]
BASE: Final[Point] = (
    0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798,
    0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8,
)


def sign(secret: bytes, digest: bytes) -> tuple[int, int]:
    """R and the lower S of a digest of 32 bytes."""
    number, message = (int.from_bytes(each, "big") for each in (secret, digest))
    nonce = nonce_of(secret, digest)
    point = times(nonce, BASE)
    assert point is not None
    r = point[0] % ORDER
    s = pow(nonce, -1, ORDER) * (message + r * number) % ORDER
    return r, min(s, ORDER - s)


def nonce_of(secret: bytes, digest: bytes) -> int:
    """The first candidate of section 3.2, with HMAC-SHA-256."""
    reduced = (int.from_bytes(digest, "big") % ORDER).to_bytes(32, "big")
    key, value = bytes(32), b"\1" * 32
    for mark in (b"\0", b"\1"):
        key = hmac.digest(key, value + mark + secret + reduced, "sha256")
        value = hmac.digest(key, value, "sha256")
    nonce = int.from_bytes(hmac.digest(key, value, "sha256"), "big")
    assert 0 < nonce < ORDER, "one in 2^128"
    return nonce


def times(number: int, point: Point) -> Point | None:
    """The point added to itself so many times."""
    total: Point | None = None
    addend: Point | None = point
    while number:
        if number & 1:
            total = plus(total, addend)
        addend = plus(addend, addend)
        number >>= 1
    return total


def plus(one: Point | None, other: Point | None) -> Point | None:
    """The sum of two points; None is the one at infinity."""
    if one is None or other is None:
        return one or other
    if one[0] == other[0] and (one[1] + other[1]) % FIELD == 0:
        return None
    if one == other:
        slope = 3 * one[0] ** 2 * pow(2 * one[1], -1, FIELD)
    else:
        slope = (other[1] - one[1]) * pow(other[0] - one[0], -1, FIELD)
    x = (slope**2 - one[0] - other[0]) % FIELD
    return x, (slope * (one[0] - x) - one[1]) % FIELD
