"""ECDSA on secp256k1, by libsecp256k1: the one module that imports coincurve.

That library signs in constant time, with nonces by RFC 6979, so that the same transaction signed
again has the same bytes, and with the lower of the two values of S, which nodes ask for (BIP 62).
"""

from __future__ import annotations

from typing import Final

from coincurve import PrivateKey, PublicKey

#: A DER signature with a low S: six bytes of frame, 33 of R and 32 of S at most.
SIGNATURE_BYTES_MAX: Final = 71
PUBLIC_KEY_BYTES: Final = 33


class SigningFailed(Exception):
    """The library would not sign: the digest is not 32 bytes long, or the key is none."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


def sign_digest(secret: bytes, digest: bytes) -> bytes:
    """The DER signature of a digest of 32 bytes by a private key of 32 bytes.

    Raises ``SigningFailed``, from a frame that no longer holds the key.
    """
    try:
        signature: bytes | None = PrivateKey(secret).sign(digest, hasher=None)
    except ValueError:
        signature = None
    del secret
    if signature is None:
        raise SigningFailed
    return signature


def verifies(public_key: bytes, signature: bytes, digest: bytes) -> bool:
    """Whether a DER signature with a low S was made over the digest by the key's owner.

    False as well for a signature that is not strict DER and for a key that is no point.
    """
    try:
        return PublicKey(public_key).verify(signature, digest, hasher=None)
    except ValueError:
        return False
