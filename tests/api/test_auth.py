"""Tokens: who is let in, and every way of forging one that is known."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from api import auth
from api.auth import INTERNAL, Authenticator, KeySet, mint, read_keys
from api.problems import Fault, Problem
from schemas.settings import Settings, SettingsError

SECRET: Final = "a secret of the tests, long enough for HS256"
USER: Final = "3f0f6b1e-6a49-4b58-9a52-0c6a3f9f2c11"
RSA: Final = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_RSA: Final = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC: Final = ec.generate_private_key(ec.SECP256R1())


def jwk(key: Any, key_id: str, **more: str) -> dict[str, Any]:
    """A public key as a JWK."""
    algorithm = (
        jwt.algorithms.RSAAlgorithm if hasattr(key, "decrypt") else jwt.algorithms.ECAlgorithm
    )
    return {**json.loads(algorithm.to_jwk(key.public_key())), "kid": key_id, **more}


KEYS: Final = json.dumps({"keys": [jwk(RSA, "r1"), jwk(EC, "e1", alg="ES256", use="sig")]}).encode()


def claims(**changes: Any) -> dict[str, Any]:
    """Good claims, changed; None leaves one out."""
    good = {
        "iss": "wallet",
        "aud": "wallet",
        "sub": USER,
        "scope": "",
        "exp": int(time.time()) + 600,
    }
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def signed(key: Any, algorithm: str, key_id: str | None = None, **changes: Any) -> str:
    """A token."""
    headers = {"kid": key_id} if key_id else None
    return jwt.encode(claims(**changes), key, algorithm=algorithm, headers=headers)


def unsigned(header: dict[str, object], signature: str = "") -> str:
    """A token put together by hand."""

    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part(header)}.{part(claims())}.{signature}"


def forged_with_public_key() -> str:
    """HS256 with the public key as the secret: the classic confusion."""
    pem = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    body = unsigned({"alg": "HS256", "typ": "JWT", "kid": "r1"}).rpartition(".")[0]
    digest = hmac.new(pem, body.encode(), hashlib.sha256).digest()
    return f"{body}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


async def fetch(source: str) -> bytes:
    """The issuer's answer."""
    return KEYS


def authenticator(secret: str = SECRET, *, keys: bool = True) -> Authenticator:
    """One that trusts the secret and the keys."""
    settings = Settings(jwt_secret=secret, jwt_jwks="keys.json" if keys else "")
    return Authenticator(settings, KeySet("keys.json", fetch) if keys else None)


@pytest.mark.parametrize(
    "token",
    [
        lambda: signed(SECRET, "HS256"),
        lambda: signed(RSA, "RS256", "r1"),
        lambda: signed(EC, "ES256", "e1"),
        lambda: signed(RSA, "RS256"),
        lambda: signed(EC, "ES256"),
        lambda: signed(SECRET, "HS256", aud=["other", "wallet"]),
    ],
)
async def test_a_good_token_names_its_user(token: Callable[[], str]) -> None:
    caller = await authenticator().caller(f"Bearer {token()}")
    assert caller.user_id == USER
    assert not caller.is_service


BAD: Final[dict[str, Callable[[], str]]] = {
    "no algorithm": lambda: unsigned({"alg": "none"}),
    "no algorithm, with a capital": lambda: unsigned({"alg": "None"}),
    "no header algorithm": lambda: unsigned({"typ": "JWT"}),
    "an algorithm that is a list": lambda: unsigned({"alg": ["HS256"]}),
    "an algorithm that is an object": lambda: unsigned({"alg": {}}),
    "another audience": lambda: signed(SECRET, "HS256", aud="shop"),
    "no audience": lambda: signed(SECRET, "HS256", aud=None),
    "another issuer": lambda: signed(SECRET, "HS256", iss="shop"),
    "no issuer": lambda: signed(SECRET, "HS256", iss=None),
    "expired": lambda: signed(SECRET, "HS256", exp=int(time.time()) - 60),
    "no expiry": lambda: signed(SECRET, "HS256", exp=None),
    "not yet": lambda: signed(SECRET, "HS256", nbf=int(time.time()) + 60),
    "no subject": lambda: signed(SECRET, "HS256", sub=None),
    "an empty subject": lambda: signed(SECRET, "HS256", sub=""),
    "a subject with a line break": lambda: signed(SECRET, "HS256", sub="a\nb"),
    "a scope that is a list": lambda: signed(SECRET, "HS256", scope=["wallet:internal"]),
    "another secret": lambda: signed("x" * 40, "HS256"),
    "a stronger algorithm than the secret's": lambda: signed(SECRET * 2, "HS512"),
    "the public key as a secret": forged_with_public_key,
    "an unknown key": lambda: signed(OTHER_RSA, "RS256", "r2"),
    "a known key's id and another key": lambda: signed(OTHER_RSA, "RS256", "r1"),
    "a key of another algorithm": lambda: signed(RSA, "RS256", "e1"),
    "another algorithm of the same key": lambda: signed(RSA, "RS512", "r1"),
    "a padded algorithm of the same key": lambda: signed(RSA, "PS256", "r1"),
    "a key in the header": lambda: jwt.encode(
        claims(), OTHER_RSA, algorithm="RS256", headers={"jwk": jwk(OTHER_RSA, "x")}
    ),
    "a changed claim": lambda: ".".join(
        [
            signed(SECRET, "HS256").split(".")[0],
            unsigned({}).split(".")[1],
            signed(SECRET, "HS256", sub="x").split(".")[2],
        ]
    ),
    "no JWT": lambda: "abc",
    "an endless one": lambda: "a" * 10_000,
}


@pytest.mark.parametrize("name", list(BAD))
async def test_a_bad_token_is_refused(name: str) -> None:
    with pytest.raises(Problem) as caught:
        await authenticator().caller(f"Bearer {BAD[name]()}")
    assert caught.value.code is Fault.TOKEN_INVALID


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic abc", "abc"])
async def test_without_a_token_nobody_is_let_in(header: str | None) -> None:
    with pytest.raises(Problem) as caught:
        await authenticator().caller(header)
    assert caught.value.code is Fault.TOKEN_MISSING


async def test_the_secret_lets_nobody_in_where_only_keys_are_trusted() -> None:
    with pytest.raises(Problem):
        await authenticator(secret="").caller(f"Bearer {signed(SECRET, 'HS256')}")


async def test_keys_let_nobody_in_where_only_the_secret_is_trusted() -> None:
    with pytest.raises(Problem):
        await authenticator(keys=False).caller(f"Bearer {signed(RSA, 'RS256', 'r1')}")


@pytest.mark.parametrize(
    "subject",
    [USER.upper(), USER.replace("-", ""), "auctions", "00000000-0000-8000-8000-00000000d09e"],
)
async def test_only_a_canonical_uuid_is_a_user(subject: str) -> None:
    caller = await authenticator().caller(f"Bearer {signed(SECRET, 'HS256', sub=subject)}")
    assert caller.user_id is None


async def test_a_scope_makes_a_service() -> None:
    token = signed(SECRET, "HS256", sub="auctions", scope=f"read {INTERNAL}")
    assert (await authenticator().caller(f"bearer {token}")).is_service
    near = signed(SECRET, "HS256", sub="auctions", scope=f"{INTERNAL}s")
    assert not (await authenticator().caller(f"Bearer {near}")).is_service


async def test_a_minted_token_is_good() -> None:
    settings = Settings(jwt_secret=SECRET)
    caller = await Authenticator(settings).caller(f"Bearer {mint(settings, 'x', [INTERNAL])}")
    assert caller.is_service


def test_without_secret_and_keys_the_api_does_not_start() -> None:
    with pytest.raises(SettingsError, match="WALLET_JWT"):
        Authenticator(Settings())


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(SettingsError, match="32 bytes"):
        Authenticator(Settings(jwt_secret="short"))
    with pytest.raises(SettingsError, match="32 bytes"):
        mint(Settings(jwt_secret="short"), USER)


def test_without_a_secret_no_token_is_made_and_it_is_told_who_has_one() -> None:
    with pytest.raises(SettingsError, match=r"is not set.*wallet up"):
        mint(Settings(), USER)


def test_keys_come_by_file_or_https_alone() -> None:
    with pytest.raises(SettingsError, match="https"):
        KeySet("http://issuer.example/keys")


def test_a_key_set_gives_each_key_one_algorithm_and_leaves_out_the_rest() -> None:
    secret = {"kty": "oct", "k": "c2VjcmV0", "kid": "s1", "alg": "HS256"}
    sealing = jwk(RSA, "r2", use="enc")
    strange = jwk(RSA, "r3", alg="RS512")
    broken = {"kty": "RSA", "kid": "r4", "n": "!", "e": "AQAB"}
    document = json.dumps(
        {"keys": [secret, sealing, strange, broken, 7, jwk(RSA, "r1"), jwk(EC, "e1")]}
    )
    keys = read_keys(document.encode())
    assert {key_id: key.algorithm_name for key_id, key in keys.items()} == {
        "r1": "RS256",
        "e1": "ES256",
    }


def test_a_private_key_in_the_set_is_not_used_to_sign() -> None:
    pem = RSA.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    assert pem  # What follows is the same key as a JWK with its private part.
    private = {**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(RSA)), "kid": "r1"}
    assert "r1" in read_keys(json.dumps({"keys": [private]}).encode())


async def test_keys_are_fetched_again_for_an_unknown_id_but_not_oftener_than_the_floor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    sets = [{"keys": [jwk(RSA, "r1")]}, {"keys": [jwk(RSA, "r1"), jwk(EC, "e1")]}]
    fetched = []

    async def fetch_next(source: str) -> bytes:
        fetched.append(source)
        return json.dumps(sets[min(len(fetched), 2) - 1]).encode()

    keys = KeySet("keys.json", fetch_next)
    assert await keys.find("r1", "RS256") is not None
    assert await keys.find("e1", "ES256") is None
    assert len(fetched) == 1
    now[0] += auth.KEYS_FLOOR_SECONDS
    assert await keys.find("e1", "ES256") is not None
    assert len(fetched) == 2
    assert await keys.find("r1", "RS256") is not None
    assert len(fetched) == 2
    now[0] += auth.KEYS_AGE_SECONDS + 1
    await keys.find("r1", "RS256")
    assert len(fetched) == 3


async def test_old_keys_stand_while_the_issuer_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    away = [False]

    async def fetch_or_fail(source: str) -> bytes:
        if away[0]:
            raise OSError("away")
        return KEYS

    keys = KeySet("keys.json", fetch_or_fail)
    assert await keys.find("r1", "RS256") is not None
    away[0] = True
    now[0] += auth.KEYS_AGE_SECONDS + 1
    assert await keys.find("r1", "RS256") is not None


async def test_while_old_keys_are_being_fetched_again_only_one_caller_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    answer, asked = asyncio.Event(), asyncio.Event()
    answer.set()

    async def fetch_slowly(source: str) -> bytes:
        asked.set()
        await answer.wait()
        return KEYS

    keys = KeySet("keys.json", fetch_slowly)
    assert await keys.find("r1", "RS256") is not None
    answer.clear()
    asked.clear()
    now[0] += auth.KEYS_AGE_SECONDS + 1
    first = asyncio.create_task(keys.find("r1", "RS256"))
    await asked.wait()
    second = asyncio.create_task(keys.find("r1", "RS256"))
    await asyncio.sleep(0)  # One turn of the loop is all that it takes.
    waits = not second.done(), not first.done()
    answer.set()
    assert await first is not None
    assert await second is not None
    assert waits == (False, True)


async def test_without_any_key_the_caller_is_told_to_come_again() -> None:
    async def fail(source: str) -> bytes:
        raise OSError("away")

    with pytest.raises(Problem) as caught:
        await KeySet("keys.json", fail).find("r1", "RS256")
    assert caught.value.code is Fault.KEYS_UNAVAILABLE


async def test_keys_are_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_bytes(KEYS)
    checked = Authenticator(Settings(jwt_jwks=str(file)))
    caller = await checked.caller(f"Bearer {signed(EC, 'ES256', 'e1')}")
    assert caller.user_id == USER


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "cannot be read: [Errno 2] No such file or directory"),
        (b"{", "cannot be read: Input data was truncated"),
        (b"[]", "cannot be read: Expected `object`, got `array`"),
        (b'{"keys": 1}', "cannot be read: a key set is an object with a list of `keys`"),
        (b'{"keys": [{"kty": "oct", "k": "AAAA"}]}', "holds no RS256 or ES256 key"),
    ],
)
def test_a_file_without_keys_is_told_before_anybody_is_turned_away(
    tmp_path: Path, content: bytes | None, why: str
) -> None:
    file = tmp_path / "keys.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError) as told:
        Authenticator(Settings(jwt_jwks=str(file)))
    assert str(told.value).startswith("WALLET_JWT_JWKS")
    assert why in str(told.value)
