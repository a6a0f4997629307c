"""The hashes of addresses, transactions and blocks.

hashlib lacks RIPEMD-160 where OpenSSL hides old digests.

Apart from the derivation, whose library takes a second to load: the local node needs this alone.
"""

from __future__ import annotations

from hashlib import sha256

from Crypto.Hash import RIPEMD160


def hash160(data: bytes) -> bytes:
    """RIPEMD-160 of SHA-256, 20 bytes: what an address has of a public key or a script."""
    return RIPEMD160.new(sha256(data).digest()).digest()


def double_sha256(data: bytes) -> bytes:
    """SHA-256 of SHA-256, 32 bytes: what transactions and blocks are named by, turned round."""
    return sha256(sha256(data).digest()).digest()
