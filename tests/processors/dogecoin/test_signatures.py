"""Signatures of every length that occurs: the size that fees are reckoned on is never too small."""

from __future__ import annotations

from collections import Counter
from hashlib import sha256
from typing import Final

import pytest
from coincurve import PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from processors.dogecoin.curve import (
    SIGNATURE_BYTES_MAX,
    SigningFailed,
    sign_digest,
    verifies,
)
from processors.dogecoin.derivation import PrivateAccount
from processors.dogecoin.fees import INPUT_BYTES, size_max
from processors.dogecoin.hidden import Hidden
from processors.dogecoin.signing import script_sig
from processors.dogecoin.transactions import Input, Output, Transaction
from tests.processors.dogecoin import rfc6979
from tests.processors.dogecoin.account import keys
from tests.processors.dogecoin.rfc6979 import ORDER

SCRIPT: Final = bytes.fromhex("76a9143bf96544e911ca728f5fabf5a4f3b65deab684c488ac")


def numbers_of(signature: bytes) -> tuple[int, int]:
    """R and S of strict DER (BIP 66), each in the fewest bytes; fails for anything else."""
    assert (signature[0], signature[1]) == (0x30, len(signature) - 2)
    numbers = []
    at = 2
    for _ in range(2):
        kind, length = signature[at], signature[at + 1]
        written = signature[at + 2 : at + 2 + length]
        assert kind == 0x02 and len(written) == length > 0
        assert written[0] < 0x80, "a number of DER would be negative"
        assert length == 1 or written[0] or written[1] >= 0x80, "a number has a zero too many"
        numbers.append(int.from_bytes(written, "big"))
        at += 2 + length
    assert at == len(signature)
    return numbers[0], numbers[1]


#: Found by search: DER length to key and digest; one shorter takes some ten million tries.
FOUND: Final = {71: (0, 0), 70: (3, 0), 69: (0, 11), 68: (3, 12478)}


@pytest.mark.parametrize("length", FOUND)
def test_a_signature_of_each_length_is_strict_der_of_the_numbers_of_rfc_6979(length: int) -> None:
    key, number = FOUND[length]
    secret = sha256(f"key {key}".encode()).digest()
    digest = sha256(f"digest {number}".encode()).digest()
    signature = sign_digest(secret, digest)
    assert len(signature) == length
    assert numbers_of(signature) == rfc6979.sign(secret, digest)
    assert verifies(PrivateKey(secret).public_key.format(), signature, digest)
    assert sign_digest(secret, digest) == signature


def test_no_signature_is_longer_than_the_size_of_a_transaction_allows_for() -> None:
    account = PrivateAccount(Hidden(keys("mainnet")[0]), "mainnet")
    lengths: Counter[int] = Counter()
    for number in range(3_000):
        digest = sha256(f"digest {number}".encode()).digest()
        signature = sign_digest(account.secret(0, number % 50), digest)
        assert 0 < numbers_of(signature)[1] <= ORDER // 2
        lengths[len(signature)] += 1
    assert set(lengths) >= {69, 70, 71}
    assert max(lengths) == SIGNATURE_BYTES_MAX


@given(key=st.binary(min_size=16, max_size=16), text=st.binary(max_size=40))
def test_every_signature_is_that_of_rfc_6979_with_the_lower_s(key: bytes, text: bytes) -> None:
    secret, digest = sha256(key).digest(), sha256(text).digest()
    assert numbers_of(sign_digest(secret, digest)) == rfc6979.sign(secret, digest)


def encoded(r: int, s: int) -> bytes:
    """Strict DER of a signature."""
    numbers = b""
    for number in (r, s):
        written = number.to_bytes(number.bit_length() // 8 + 1, "big")
        numbers += bytes((2, len(written))) + written
    return bytes((0x30, len(numbers))) + numbers


def made(nonce: int, s: int, secret: int) -> tuple[bytes, bytes]:
    """A valid signature with that nonce and that S, and the digest that it is of.

    A digest can be reckoned for any S, so that every length can be had, which no hash ever gives.
    """
    x = PrivateKey.from_int(nonce).public_key.point()[0]
    digest = (s * nonce - x * secret) % ORDER
    return encoded(x, s), digest.to_bytes(32, "big")


#: With R of 21 bytes, the shortest that anybody knows, of 32, and of 33.
NONCES: Final = (pow(2, -1, ORDER), 1, 2)


def test_signatures_of_every_length_are_verified_and_fit_the_size_that_was_reckoned() -> None:
    secret = PrivateKey(sha256(b"any key").digest())
    public_key = secret.public_key.format()
    seen = set()
    for nonce in NONCES:
        for size in range(1, 33):
            s = 1 << (8 * size - 2)
            signature, digest = made(nonce, s, secret.to_int())
            assert numbers_of(signature)[1] == s
            assert verifies(public_key, signature, digest)
            assert not verifies(public_key, signature, digest[::-1])
            seen.add(len(signature))
            spent = Input("ab" * 32, 1, script_sig(signature, public_key))
            transaction = Transaction((spent,), (Output(1, SCRIPT),))
            spare = SIGNATURE_BYTES_MAX - len(signature)
            assert size_max(1, [SCRIPT]) - len(transaction.serialize()) == spare >= 0
    assert seen == set(range(28, SIGNATURE_BYTES_MAX + 1))


def test_a_high_s_is_no_signature_of_ours() -> None:
    secret = PrivateKey(sha256(b"any key").digest())
    digest = sha256(b"any digest").digest()
    r, s = numbers_of(secret.sign(digest, hasher=None))
    assert verifies(secret.public_key.format(), encoded(r, s), digest)
    assert not verifies(secret.public_key.format(), encoded(r, ORDER - s), digest)


@pytest.mark.parametrize("public_key", [b"", bytes(33), b"\2" + b"\5" * 31, b"\2" + bytes(32)])
def test_what_is_no_point_signed_nothing(public_key: bytes) -> None:
    signature = sign_digest(sha256(b"any key").digest(), bytes(32))
    assert not verifies(public_key, signature, bytes(32))


@pytest.mark.parametrize("signature", [b"", b"\x30\x00", bytes(70), b"\x30" * 71])
def test_what_is_not_der_signs_nothing(signature: bytes) -> None:
    key = PrivateKey(sha256(b"any key").digest()).public_key.format()
    assert not verifies(key, signature, bytes(32))


@pytest.mark.parametrize(
    ("secret", "digest"), [(b"\1" * 32, b"short"), (bytes(32), bytes(32)), (b"", bytes(32))]
)
def test_the_library_signs_whole_digests_with_whole_keys_alone(
    secret: bytes, digest: bytes
) -> None:
    with pytest.raises(SigningFailed):
        sign_digest(secret, digest)


@given(
    inputs=st.integers(1, 700),
    kinds=st.lists(st.sampled_from([SCRIPT, bytes(23)]), min_size=1, max_size=600),
)
def test_a_size_is_exact_for_the_longest_signatures(inputs: int, kinds: list[bytes]) -> None:
    longest = script_sig(bytes(SIGNATURE_BYTES_MAX), bytes(33))
    transaction = Transaction(
        tuple(Input("00" * 32, number, longest) for number in range(inputs)),
        tuple(Output(1, script) for script in kinds),
    )
    assert len(transaction.serialize()) == size_max(inputs, kinds)
    assert INPUT_BYTES == 148
