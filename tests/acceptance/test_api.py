"""The REST API as a process, with a real broker, database and worker beside it."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import jwt
import msgspec
import pytest
from aiohttp import web
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from jwt.algorithms import RSAAlgorithm

from api.auth import INTERNAL, mint
from api.cli import group
from db.engine import connect
from db.ledger.rules import seed_rules
from processors.dogecoin.derivation import account_keys
from processors.seed import first_rules, keyring_of
from schemas.settings import PREFIX, Settings
from streams.kafka.admin import create_topics
from streams.local.process import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

XPUB: Final = account_keys(bytes(range(64)), "regtest")[1]
BASE: Final = "/api/v1/wallet"
STOP_SECONDS: Final = 10.0
_LOOPBACK: Final = ipaddress.ip_address("127.0.0.1")


def environment_of(settings: Settings) -> dict[str, str]:
    """The variables that say the same as the settings."""
    default = Settings()
    variables = {
        f"{PREFIX}{field.upper()}": str(getattr(settings, field))
        for field in settings.__struct_fields__
        if field != "kafka" and getattr(settings, field) != getattr(default, field)
    }
    servers = settings.kafka["bootstrap.servers"]
    return {**os.environ, **variables, "WALLET_KAFKA_BOOTSTRAP_SERVERS": servers}


class Process:
    """One process of the wallet's command line; its logs go to a file."""

    def __init__(self, name: str, settings: Settings, log: Path) -> None:
        self._log = log.open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "api.cli", name],
            env=environment_of(settings),
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def address(self) -> str:
        """The address that it prints once it listens."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.search(r"https?://\S+", line)
        assert found is not None, f"it printed {line!r}; see {self._log.name}"
        return found.group()

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Signal it and wait for its end; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(how)
        return self.process.wait(STOP_SECONDS)

    def close(self) -> None:
        """Leave nothing of it."""
        if self.process.poll() is None:
            self.stop(signal.SIGKILL)
        self._log.close()
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextmanager
def running(name: str, settings: Settings, folder: Path) -> Iterator[Process]:
    """A process that is gone afterwards."""
    process = Process(name, settings, folder / f"{name}.log")
    try:
        yield process
    finally:
        process.close()


@pytest.fixture
def ours(settings: Settings) -> Settings:
    """Settings with rules seeded and topics made, on ports that are free."""
    ours = msgspec.structs.replace(
        settings,
        account_xpub=XPUB,
        api_port=free_port(),
        api_wait_seconds=30.0,
        worker_port=free_port(),
        partitions=2,
    )
    with connect(ours.database_url, application_name="test-owner") as owner:
        seed_rules(owner, first_rules(ours, keyring_of(ours)))
    create_topics(ours)
    return ours


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """An HTTP client."""
    async with aiohttp.ClientSession() as opened:
        yield opened


async def ready(session: aiohttp.ClientSession, url: str) -> None:
    """Wait until the API can do all that is asked of it."""
    async with asyncio.timeout(60):
        while True:
            try:
                async with session.get(f"{url}/readyz") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(0.05)


def bearer(settings: Settings, subject: str, *scopes: str, **more: str) -> dict[str, str]:
    """Headers of a caller."""
    return {"Authorization": f"Bearer {mint(settings, subject, scopes)}", **more}


def lock_of(user_id: str) -> dict[str, str]:
    """A body that needs no money to be decided: it is refused."""
    return {"user_id": user_id, "amount": "1", "reference_type": "bid", "reference_id": "b"}


async def test_a_post_goes_over_the_topic_and_answers_what_was_committed(
    ours: Settings, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    user = str(uuid.uuid4())
    with running("worker", ours, tmp_path), running("api", ours, tmp_path) as api:
        url = api.address()
        await ready(session, url)
        async with session.get(f"{url}{BASE}/balance/", headers=bearer(ours, user)) as answer:
            assert answer.status == 200
            assert (await answer.json())["user_id"] == user
        headers = bearer(ours, "auctions", INTERNAL, **{"Idempotency-Key": "k"})
        answers = []
        for _ in range(2):
            async with session.post(
                f"{url}{BASE}/internal/lock/", json=lock_of(user), headers=headers
            ) as answer:
                assert answer.status == 402
                answers.append((answer.headers.get("Idempotency-Replayed"), await answer.json()))
        assert [replayed for replayed, _ in answers] == [None, "true"]
        assert answers[0][1] == answers[1][1]
        assert api.stop() == 0
    log = (tmp_path / "api.log").read_text().splitlines()
    requests = [line for line in map(msgspec.json.decode, log) if line["message"] == "request"]
    assert any(line["command_id"] == answers[0][1]["command_id"] for line in requests)


async def test_without_a_worker_the_answer_is_where_to_look_later(
    ours: Settings, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    user = str(uuid.uuid4())
    with running("api", ours, tmp_path) as api:
        url = api.address()
        await ready(session, url)
        async with session.get(
            f"{url}{BASE}/balance", headers=bearer(ours, user, Prefer="wait=1")
        ) as answer:
            assert answer.status == 202
            place = url + answer.headers["Location"]

        async def outcome() -> str:
            async with session.get(place, headers=bearer(ours, user)) as answer:
                assert answer.status == 200
                return str((await answer.json())["outcome"])

        assert await outcome() == "pending"
        with running("worker", ours, tmp_path):
            async with asyncio.timeout(60):
                while await outcome() == "pending":
                    await asyncio.sleep(0.05)
            assert await outcome() == "accepted"


async def test_on_sigterm_whoever_waits_still_has_the_answer(
    ours: Settings, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    user = str(uuid.uuid4())
    with running("worker", ours, tmp_path) as worker, running("api", ours, tmp_path) as api:
        url = api.address()
        await ready(session, url)
        async with session.get(f"{url}{BASE}/balance", headers=bearer(ours, user)) as answer:
            assert answer.status == 200
        worker.process.send_signal(signal.SIGSTOP)
        headers = bearer(ours, "auctions", INTERNAL, **{"Idempotency-Key": "k"})
        asked = asyncio.create_task(
            session.post(f"{url}{BASE}/internal/lock", json=lock_of(user), headers=headers)
        )
        await _waiting(session, url)
        started = time.monotonic()
        api.process.send_signal(signal.SIGTERM)
        await _refused(url)
        worker.process.send_signal(signal.SIGCONT)
        async with await asked as answer:
            assert answer.status == 402
        assert await asyncio.to_thread(api.process.wait, STOP_SECONDS) == 0
        assert time.monotonic() - started < STOP_SECONDS


async def _waiting(session: aiohttp.ClientSession, url: str) -> None:
    async with asyncio.timeout(60):
        while True:
            async with session.get(f"{url}/metrics") as answer:
                if "wallet_api_waiting 1.0" in await answer.text():
                    return
            await asyncio.sleep(0.02)


async def _refused(url: str) -> None:
    """Wait until nobody is let in any more."""
    async with asyncio.timeout(60):
        while True:
            try:
                async with aiohttp.ClientSession() as other, other.get(f"{url}/healthz"):
                    await asyncio.sleep(0.02)
            except aiohttp.ClientConnectionError:
                return


async def test_on_sigterm_whoever_waits_in_vain_is_told_where_to_look(
    ours: Settings, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    with running("api", ours, tmp_path) as api:
        url = api.address()
        await ready(session, url)
        headers = bearer(ours, str(uuid.uuid4()), Prefer="wait=30")
        asked = asyncio.create_task(session.get(f"{url}{BASE}/balance", headers=headers))
        await _waiting(session, url)
        started = time.monotonic()
        api.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(api.process.wait, STOP_SECONDS) == 0
        assert time.monotonic() - started < STOP_SECONDS
        async with await asked as answer:
            assert answer.status == 202
            assert "Location" in answer.headers


async def test_it_serves_by_tls(
    ours: Settings, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    certificate, key = _certificate(tmp_path)
    secured = msgspec.structs.replace(
        ours, api_tls_certificate=str(certificate), api_tls_key=str(key)
    )
    with running("api", secured, tmp_path) as api:
        url = api.address()
        assert url.startswith("https://")
        context = ssl.create_default_context(cafile=str(certificate))
        async with session.get(f"{url}/healthz", ssl=context) as answer:
            assert answer.status == 200


@asynccontextmanager
async def issuer(key: rsa.RSAPrivateKey, folder: Path) -> AsyncIterator[str]:
    """A server that shows a public key by TLS; its URL."""
    public = {**json.loads(RSAAlgorithm.to_jwk(key.public_key())), "kid": "r1"}

    async def keys(request: web.Request) -> web.StreamResponse:
        # In two parts, as large answers come.
        response = web.StreamResponse()
        await response.prepare(request)
        body = json.dumps({"keys": [public]}).encode()
        await response.write(body[:20])
        await asyncio.sleep(0.01)
        await response.write(body[20:])
        return response

    app = web.Application()
    app.router.add_get("/keys", keys)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*_certificate(folder))
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context).start()
    try:
        yield f"https://127.0.0.1:{port}/keys"
    finally:
        await runner.cleanup()


async def test_tokens_of_an_issuer_are_checked_by_the_keys_at_its_address(
    ours: Settings,
    session: aiohttp.ClientSession,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    claims = {"iss": "wallet", "aud": "wallet", "sub": str(uuid.uuid4()), "exp": time.time() + 60}
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "tls.crt"))
    async with issuer(key, tmp_path) as keys:
        trusting = msgspec.structs.replace(ours, jwt_secret="", jwt_jwks=keys)
        with running("api", trusting, tmp_path) as api:
            url = api.address()

            async def asked(token: str) -> int:
                headers = {"Authorization": f"Bearer {token}"}
                async with session.get(f"{url}{BASE}/history", headers=headers) as answer:
                    return answer.status

            good = jwt.encode(claims, key, algorithm="RS256", headers={"kid": "r1"})
            assert await asked(good) == 200
            unknown = jwt.encode(claims, key, algorithm="RS256", headers={"kid": "r2"})
            assert await asked(unknown) == 401
            assert await asked(mint(ours, str(uuid.uuid4()))) == 401


def _certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "wallet")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(minutes=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(_LOOPBACK)]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    files = folder / "tls.crt", folder / "tls.key"
    files[0].write_bytes(certificate.public_bytes(Encoding.PEM))
    files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files


def _told(settings: Settings, **changes: Any) -> str:
    """What a start that cannot succeed prints, in one line."""
    wanted = msgspec.structs.replace(settings, **changes)
    done = subprocess.run(
        [sys.executable, "-m", "api.cli", "api"],
        env=environment_of(wanted),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    lines = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert len(lines) == 1, done.stderr
    return lines[0]


def test_what_keeps_it_from_starting_is_told_in_one_line(ours: Settings, tmp_path: Path) -> None:
    assert "WALLET_JWT_SECRET" in _told(ours, jwt_secret="")
    assert "32 bytes" in _told(ours, jwt_secret="short")
    assert "WALLET_API_DATABASE_URL" in _told(ours, api_database_url="")
    assert "belong together" in _told(ours, api_tls_key=str(tmp_path / "tls.key"))
    with running("api", ours, tmp_path) as api:
        api.address()
        assert "port" in _told(ours)


def test_a_token_is_printed_for_a_user_or_a_service(
    ours: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WALLET_JWT_SECRET", ours.jwt_secret)
    # Named, so that no running `wallet up` of this folder is asked instead.
    monkeypatch.setenv("WALLET_API_DATABASE_URL", ours.api_database_url)
    done = CliRunner().invoke(group, ["token", "auctions", "--service", "--lifetime", "60"])
    assert done.exit_code == 0
    assert done.stdout.count(".") == 2
    monkeypatch.setenv("WALLET_JWT_SECRET", "short")
    refused = CliRunner().invoke(group, ["token", "auctions"])
    assert refused.exit_code == 1
    assert "32 bytes" in refused.stderr
