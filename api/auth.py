"""Who is asking: tokens (JWT), checked with one algorithm a key."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, Final

import aiohttp
import jwt
import msgspec

from api.problems import Fault, Problem
from schemas.commands import UUID_PATTERN
from schemas.ledger import HOUSE
from schemas.settings import Settings, SettingsError

log = logging.getLogger(__name__)

#: Lets a service call the internal routes.
INTERNAL: Final = "wallet:internal"

#: HS256 is no stronger than its secret.
SECRET_MIN_BYTES: Final = 32
#: Clocks of issuers differ a little from ours.
LEEWAY_SECONDS: Final = 10
TOKEN_MAX_CHARACTERS: Final = 8192
SUBJECT_MAX_CHARACTERS: Final = 255
#: Keys are fetched again once they are that old, and for an unknown key id,
KEYS_AGE_SECONDS: Final = 600.0
#: but never oftener than this: anybody can invent key ids.
KEYS_FLOOR_SECONDS: Final = 30.0
KEYS_TIMEOUT_SECONDS: Final = 5.0
KEYS_MAX_BYTES: Final = 256 * 1024

_UUID: Final = re.compile(UUID_PATTERN)
_REQUIRED: Final = ["exp", "iss", "aud", "sub"]


class Caller(msgspec.Struct, frozen=True):
    """Whoever holds the token."""

    subject: str
    scopes: frozenset[str]

    @property
    def is_service(self) -> bool:
        """May call the internal routes."""
        return INTERNAL in self.scopes

    @property
    def user_id(self) -> str | None:
        """The user that the token speaks for, if it speaks for one."""
        subject = self.subject
        return subject if _UUID.fullmatch(subject) and subject != HOUSE else None


def mint(
    settings: Settings, subject: str, scopes: Iterable[str] = (), lifetime_seconds: int = 3600
) -> str:
    """A token signed with the shared secret; raises ``SettingsError`` if there is none."""
    _check_secret(settings.jwt_secret)
    now = int(time.time())
    claims = {
        "iss": settings.jwt_issuer,
        "aud": settings.jwt_audience,
        "sub": subject,
        "scope": " ".join(scopes),
        "iat": now,
        "exp": now + lifetime_seconds,
    }
    return jwt.encode(claims, settings.jwt_secret, algorithm="HS256")


def _check_secret(secret: str) -> None:
    if not secret:
        raise SettingsError(
            "WALLET_JWT_SECRET is not set. Commands find it by themselves while `wallet up` runs "
            "in this folder; for a wallet of your own, `openssl rand -hex 32` makes one."
        )
    if len(secret.encode()) < SECRET_MIN_BYTES:
        raise SettingsError(
            f"WALLET_JWT_SECRET needs {SECRET_MIN_BYTES} bytes or more; "
            "`openssl rand -hex 32` makes a good one."
        )


class KeySet:
    """The issuer's public keys, from a file or an https URL.

    Fetched when they are old or a token names an unknown one; if that fails, the old ones stand.
    """

    def __init__(self, source: str, fetch: Callable[[str], Awaitable[bytes]] | None = None) -> None:
        if "://" in source and not source.startswith("https://"):
            raise SettingsError("WALLET_JWT_JWKS must be a file or an https URL.")
        self._source = source
        self._fetch = fetch or fetch_keys
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched = float("-inf")
        self._tried = float("-inf")
        self._lock = asyncio.Lock()
        if fetch is None and not source.startswith("https://"):
            _require_keys(Path(source))

    async def find(self, key_id: str | None, algorithm: str) -> jwt.PyJWK | None:
        """The key of that id, if it is of that algorithm; without an id, the only such key."""
        now = time.monotonic()
        found = self._known(key_id, algorithm)
        old = now - self._fetched > KEYS_AGE_SECONDS
        # One caller asks for newer ones; the others need not wait for an issuer that is away.
        if found is None or (old and not self._lock.locked()):
            await self._refresh()
            found = self._known(key_id, algorithm)
        if not self._keys:
            raise Problem(Fault.KEYS_UNAVAILABLE)
        return found

    def _known(self, key_id: str | None, algorithm: str) -> jwt.PyJWK | None:
        if key_id is not None:
            key = self._keys.get(key_id)
            return key if key is not None and key.algorithm_name == algorithm else None
        fitting = [key for key in self._keys.values() if key.algorithm_name == algorithm]
        return fitting[0] if len(fitting) == 1 else None

    async def _refresh(self) -> None:
        async with self._lock:
            now = time.monotonic()
            if now - self._tried < KEYS_FLOOR_SECONDS:
                return
            self._tried = now
            try:
                self._keys = read_keys(await self._fetch(self._source))
                self._fetched = now
            except (OSError, TimeoutError, ValueError, aiohttp.ClientError) as error:
                log.warning("the issuer's keys cannot be fetched", extra={"reason": repr(error)})


async def fetch_keys(source: str) -> bytes:
    """A key set's bytes, from a file or an https URL; raises ``OSError`` or ``ClientError``."""
    if not source.startswith("https://"):
        return await asyncio.to_thread(Path(source).read_bytes)
    timeout = aiohttp.ClientTimeout(total=KEYS_TIMEOUT_SECONDS)
    async with (
        aiohttp.ClientSession(timeout=timeout, raise_for_status=True) as session,
        session.get(source, allow_redirects=False) as response,
    ):
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > KEYS_MAX_BYTES:
                raise ValueError("the key set is too large")
        return bytes(body)


def read_keys(document: bytes) -> dict[str, jwt.PyJWK]:
    """Keys by id out of a JWKS: RSA for RS256, P-256 for ES256, all others left out.

    A key of any other algorithm (a symmetric one above all) is never used, whatever a token says.
    """
    keys: dict[str, jwt.PyJWK] = {}
    decoded = msgspec.json.decode(document, type=dict[str, Any])
    entries = decoded.get("keys")
    if not isinstance(entries, list):
        raise ValueError("a key set is an object with a list of `keys`")
    for index, entry in enumerate(entries):
        algorithm = _algorithm_of(entry)
        if algorithm is None:
            continue
        try:
            key = jwt.PyJWK(entry, algorithm)
        except (jwt.PyJWTError, ValueError) as error:
            log.warning("a key of the issuer cannot be read", extra={"reason": repr(error)})
            continue
        keys[str(entry.get("kid", f"#{index}"))] = key
    return keys


def _require_keys(file: Path) -> None:
    """Raise ``SettingsError`` for a file that lets nobody in; an address may be away today."""
    try:
        keys = read_keys(file.read_bytes())
    except (OSError, ValueError) as error:
        raise SettingsError(f"WALLET_JWT_JWKS cannot be read: {error}.") from None
    if not keys:
        raise SettingsError(f"WALLET_JWT_JWKS: {file} holds no RS256 or ES256 key.")


def _algorithm_of(entry: object) -> str | None:
    if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
        return None
    match entry.get("kty"), entry.get("crv"):
        case "RSA", _:
            algorithm = "RS256"
        case "EC", "P-256":
            algorithm = "ES256"
        case _:
            return None
    return algorithm if entry.get("alg", algorithm) == algorithm else None


class Authenticator:
    """Tells the caller from the header Authorization; raises ``Problem`` for a bad token."""

    def __init__(self, settings: Settings, keys: KeySet | None = None) -> None:
        if not settings.jwt_secret and not settings.jwt_jwks:
            raise SettingsError(
                "Neither WALLET_JWT_SECRET nor WALLET_JWT_JWKS is set: nobody could be let in."
            )
        if settings.jwt_secret:
            _check_secret(settings.jwt_secret)
        self._settings = settings
        self._keys = keys or (KeySet(settings.jwt_jwks) if settings.jwt_jwks else None)

    async def caller(self, authorization: str | None) -> Caller:
        """The caller that a header ``Bearer TOKEN`` speaks for."""
        if not authorization:
            raise Problem(Fault.TOKEN_MISSING)
        scheme, _, token = authorization.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise Problem(Fault.TOKEN_MISSING)
        if len(token) > TOKEN_MAX_CHARACTERS:
            raise Problem(Fault.TOKEN_INVALID, "The token is too long")
        try:
            key, algorithm = await self._key_of(token)
            claims = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                issuer=self._settings.jwt_issuer,
                audience=self._settings.jwt_audience,
                leeway=LEEWAY_SECONDS,
                options={"require": _REQUIRED},
            )
        except jwt.ExpiredSignatureError:
            raise Problem(Fault.TOKEN_INVALID, "The token has expired") from None
        except jwt.PyJWTError as error:
            raise Problem(Fault.TOKEN_INVALID, f"The token is refused: {error}") from None
        return _caller_of(claims)

    async def _key_of(self, token: str) -> tuple[Any, str]:
        # The header is not trusted: it only chooses among keys whose algorithm we fixed before.
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, ValueError) as error:
            raise jwt.InvalidTokenError(f"it is not a JWT ({error})") from None
        algorithm = header.get("alg")
        if not isinstance(algorithm, str):
            raise jwt.InvalidTokenError("its algorithm is not named")
        if algorithm == "HS256" and self._settings.jwt_secret:
            return self._settings.jwt_secret, "HS256"
        if algorithm in {"RS256", "ES256"} and self._keys is not None:
            key_id = header.get("kid")
            key = await self._keys.find(key_id, algorithm)
            if key is not None:
                return key.key, algorithm
            raise jwt.InvalidTokenError("its key is not known here")
        raise jwt.InvalidTokenError("its algorithm is not one of this wallet's")


def _caller_of(claims: dict[str, Any]) -> Caller:
    subject, scope = claims["sub"], claims.get("scope", "")
    if not isinstance(subject, str) or not 1 <= len(subject) <= SUBJECT_MAX_CHARACTERS:
        raise Problem(Fault.TOKEN_INVALID, "The token's `sub` is empty or too long")
    if not subject.isprintable():
        raise Problem(Fault.TOKEN_INVALID, "The token's `sub` is not printable text")
    if not isinstance(scope, str):
        raise Problem(Fault.TOKEN_INVALID, "The token's `scope` is not space separated text")
    return Caller(subject, frozenset(scope.split()))
