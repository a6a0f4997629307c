"""``wallet payer`` as it is deployed: the key from Secrets Manager, and in nothing that is written.

Everything around it is real but AWS, for which the emulator stands in.
"""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import boto3
import msgspec
import pytest
from bip_utils import Base58Decoder, Base58Encoder, WifEncoder

from db.engine import connect
from db.ledger.rules import seed_rules
from processors.dogecoin.derivation import PrivateAccount, account_keys
from processors.dogecoin.hidden import Hidden
from processors.seed import first_rules, keyring_of
from schemas.amounts import KOINU_PER_DOGE
from schemas.settings import Settings
from schemas.topics import TOPICS
from streams.local.aws import CREDENTIALS, REGION, EmbeddedAws, secret_name
from streams.local.process import free_port
from streams.secrets import Secrets
from tests.conftest import Database
from tests.crash.wallet import bare_environment
from tests.streams.payer.plant import PATIENCE_SECONDS, plant_on
from tests.streams.payer.test_secrecy import dump
from tests.support.eventually import eventually
from tests.support.nodes import OurNode, our_node
from tests.support.running import environment_of
from tests.support.station import read_all
from tests.support.story import ELSEWHERE

__all__ = ["our_node"]

NETWORK: Final = "regtest"
#: Versions of extended private keys: xprv, tprv, dgpv, tgpv.
_EXTENDED: Final = ("0488ade4", "04358394", "02fac398", "0432a243")
#: Versions of a single private key: Dogecoin's own, its test networks'.
_SINGLE: Final = (b"\x9e", b"\xf1", b"\xef", b"\x80")
_REFUSED_SECONDS: Final = 60.0


def _forms(account_xprv: str) -> dict[str, str]:
    """The account's private key and some that come from it, in every form that would give it."""
    payload = Base58Decoder.CheckDecode(account_xprv)
    found = {
        f"extended {version}": Base58Encoder.CheckEncode(bytes.fromhex(version) + payload[4:])
        for version in _EXTENDED
    }
    # The end of it too, should a log have cut it off or starred its beginning.
    found |= {f"the end of {name}": text[-40:] for name, text in found.items()}
    account = PrivateAccount(Hidden(account_xprv), NETWORK)
    secrets = {"the account's": payload[-32:]} | {
        f"{chain}/{index}": account.secret(chain, index) for chain in (0, 1) for index in range(5)
    }
    for name, secret in secrets.items():
        found |= {
            f"{name} in hex": secret.hex(),
            f"{name} as a number": str(int.from_bytes(secret, "big")),
            f"{name} in base64": base64.b64encode(secret).decode().rstrip("=")[:-1],
            f"{name} as bytes": repr(secret)[2:-1],
        }
        for version in _SINGLE:
            found[f"{name} as WIF {version.hex()}"] = WifEncoder.Encode(secret, version)
    return found


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedAws]:
    """An emulator with nothing in it."""
    emulator = EmbeddedAws(tmp_path_factory.mktemp("aws"), port=free_port(), network=NETWORK)
    emulator.start()
    yield emulator
    emulator.stop()


def _environment(settings: Settings, aws: EmbeddedAws) -> dict[str, str]:
    return bare_environment() | environment_of(settings) | aws.environment()


def _secrets(aws: EmbeddedAws, settings: Settings) -> Secrets:
    named = msgspec.structs.replace(
        settings,
        account_secret=secret_name(NETWORK),
        aws_endpoint_url=aws.address,
        aws_region=REGION,
    )
    return Secrets(named, credentials=CREDENTIALS)


@contextmanager
def _running(settings: Settings, aws: EmbeddedAws, output: Path) -> Iterator[subprocess.Popen[str]]:
    """The payer's process, that says all it can; ended in order."""
    with output.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "api.cli", "payer"],
            env=_environment(settings, aws) | {"WALLET_LOG_LEVEL": "DEBUG"},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            text=True,
        )
        try:
            yield process
            process.send_signal(signal.SIGTERM)
            assert process.wait(30.0) == 0, output.read_text()[-3000:]
        finally:
            process.kill()
            process.wait()


def _seen_from_outside(pid: int) -> str:
    """What others on the machine see of a process; its environment they may be refused."""
    seen = Path(f"/proc/{pid}/cmdline").read_text()
    try:
        return seen + Path(f"/proc/{pid}/environ").read_text()
    except PermissionError:
        assert os.geteuid() != 0
        return seen


def _topics(settings: Settings) -> str:
    read = read_all(settings, *(topic.name for topic in TOPICS))
    return "\n".join(
        f"{message.key()!r} {(message.value() or b'').decode()} {message.headers()!r}"
        for messages in read.values()
        for message in messages
    )


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_key_is_in_nothing_that_a_process_wrote(
    settings: Settings, database: Database, our_node: OurNode, aws: EmbeddedAws, tmp_path: Path
) -> None:
    output = tmp_path / "payer.log"
    with plant_on(settings, database, our_node) as plant:
        xprv = plant.account.account_xprv
        _secrets(aws, plant.settings).store(Hidden(xprv), replace=True)
        with _running(plant.settings, aws, output) as process:
            plant.fund([50, 50])
            asked = plant.ask(60 * KOINU_PER_DOGE, ELSEWHERE)

            def paid() -> bool:
                plant.mine()
                return plant.status(asked) == "CONFIRMED"

            eventually(paid, f"it is paid: see {output}", PATIENCE_SECONDS)
            written = _seen_from_outside(process.pid)
        written += output.read_text() + dump(database) + _topics(plant.settings)
    for proof in ("payer", "confirm_withdrawal", ELSEWHERE, '"signed"'):
        assert proof in written
    for form, text in _forms(xprv).items():
        assert text not in written, form


@pytest.mark.slow
@pytest.mark.parametrize("case", ["missing", "of another account", "unreadable"])
def test_without_the_right_secret_it_refuses_to_start_in_one_line(
    database: Database, aws: EmbeddedAws, case: str
) -> None:
    xprv, xpub = account_keys(b"of these refusals alone" * 2, NETWORK)
    other_xprv, other_xpub = account_keys(b"and another one's" * 3, NETWORK)
    settings = Settings(
        database_url=database.owner_url,
        payer_database_url=database.payer_url,
        account_xpub=xpub,
        node_url="http://127.0.0.1:1",
        kafka={"bootstrap.servers": "127.0.0.1:1"},
    )
    with connect(database.owner_url, application_name="test") as connection:
        seed_rules(connection, first_rules(settings, keyring_of(settings)))
    client = boto3.client(
        "secretsmanager",
        region_name=REGION,
        endpoint_url=aws.address,
        aws_access_key_id=CREDENTIALS[0],
        aws_secret_access_key=CREDENTIALS[1],
    )
    name = f"wallet/{case.replace(' ', '-')}"
    if case == "unreadable":
        client.create_secret(Name=name, SecretString=f'"{xprv}"')
    elif case == "of another account":
        theirs = msgspec.structs.replace(
            settings,
            account_xpub=other_xpub,
            account_secret=name,
            aws_endpoint_url=aws.address,
            aws_region=REGION,
        )
        Secrets(theirs, credentials=CREDENTIALS).store(Hidden(other_xprv))
    environment = _environment(settings, aws) | {"WALLET_ACCOUNT_SECRET": name}
    told = subprocess.run(
        [sys.executable, "-m", "api.cli", "payer"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=_REFUSED_SECONDS,
        check=False,
    )
    words = {
        "missing": "there is no secret",
        "of another account": "is the key of account",
        "unreadable": "cannot be used",
    }
    said = told.stdout + told.stderr
    assert told.returncode == 1, said
    # A library logs where it found its credentials; but for the log it is one line.
    (line,) = [line for line in said.splitlines() if not line.startswith('{"time": ')]
    assert line.startswith("Error: ") and words[case] in line
    assert xprv not in said and other_xprv not in said
