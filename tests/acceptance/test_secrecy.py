"""No secret is ever shown: not in settings, logs, refusals or tracebacks, by whatever way given."""

from __future__ import annotations

import subprocess
import sys
import traceback
from pathlib import Path
from typing import Final

import pytest

from api.commands.health import PROCESSES
from processors.dogecoin.derivation import account_keys
from schemas.settings import KAFKA_PREFIX, PREFIX, Settings, SettingsError, is_secret
from streams.local.process import free_port
from tests.crash.wallet import bare_environment
from tests.support.eventually import eventually

HUSH: Final = "hush-0123456789-0123456789-0123456789"
XPUB: Final = account_keys(bytes(range(64)), "regtest")[1]
#: librdkafka's own, beside what the settings have as fields.
_KAFKA: Final = (
    "SASL_PASSWORD",
    "SSL_KEY_PASSWORD",
    "SSL_KEYSTORE_PASSWORD",
    "SASL_OAUTHBEARER_CLIENT_SECRET",
)
FIELDS: Final = [f"{PREFIX}{field.upper()}" for field in Settings.__struct_fields__]
#: Whose whole value is one; the name of AWS' secret is starred too, and is used as a name.
SECRETS: Final = [name for name in FIELDS if is_secret(name)]
#: Whose value has a password in it.
ADDRESSES: Final = [name for name in FIELDS if name.endswith("DATABASE_URL")]


def secretive() -> dict[str, str]:
    """Every secret there is, each with the same value, on addresses where nobody answers."""
    nobody = f"127.0.0.1:{free_port()}"
    return {
        **dict.fromkeys(SECRETS, HUSH),
        **dict.fromkeys(
            ADDRESSES, f"postgresql://someone:{HUSH}@{nobody}/wallet?sslpassword={HUSH}"
        ),
        **{f"{KAFKA_PREFIX}{name}": HUSH for name in _KAFKA},
        "WALLET_KAFKA_BOOTSTRAP_SERVERS": nobody,
        "WALLET_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "WALLET_KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
        "WALLET_KAFKA_SASL_USERNAME": "someone",
        "WALLET_NODE_URL": f"http://someone:{HUSH}@{nobody}",
        "WALLET_NODE_SECOND_URL": f"http://someone:{HUSH}@{nobody}",
        "WALLET_AWS_ENDPOINT_URL": f"http://{nobody}",
        "WALLET_AWS_REGION": "eu-central-1",
        "WALLET_ACCOUNT_XPUB": XPUB,
        "WALLET_LOG_LEVEL": "DEBUG",
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": HUSH,
    }


def started(environment: dict[str, str], *words: str) -> subprocess.Popen[str]:
    """A command of `wallet`, as talkative as it can be."""
    return subprocess.Popen(
        [sys.executable, "-m", "api.cli", *words],
        env={**bare_environment(), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def said_by(process: subprocess.Popen[str]) -> str:
    """All that it says until it ends."""
    return process.communicate(timeout=30.0)[0]


def test_there_are_secrets_to_keep() -> None:
    assert {"WALLET_JWT_SECRET", "WALLET_NODE_PASSWORD"} <= set(SECRETS)
    assert len(ADDRESSES) == 6


def test_settings_show_none_however_they_are_given(tmp_path: Path) -> None:
    given = {name: value for name, value in secretive().items() if name.startswith(PREFIX)}
    files = {}
    for name, value in given.items():
        if name in (*SECRETS, *ADDRESSES):
            (tmp_path / name).write_text(value)
            files[f"{name}_FILE"] = str(tmp_path / name)
        else:
            files[name] = value
    assert Settings.from_environ(given) == Settings.from_environ(files)
    for environment in (given, files):
        settings = Settings.from_environ(environment)
        assert HUSH not in f"{settings!r} {settings} {settings.redacted()}"
        shown = said_by(started(environment, "settings", "--all"))
        assert HUSH not in shown
        assert shown.count("********") >= len(SECRETS) + len(ADDRESSES) + len(_KAFKA)


@pytest.mark.parametrize("name", [*SECRETS, *ADDRESSES])
def test_a_settings_fault_shows_no_other_setting(name: str) -> None:
    environment = {name: HUSH, "WALLET_PARTITIONS": HUSH}
    with pytest.raises(SettingsError) as caught:
        Settings.from_environ(environment)
    text = "".join(traceback.format_exception(caught.value))
    assert "WALLET_PARTITIONS cannot be read" in text
    assert HUSH not in text


def test_processes_that_cannot_work_show_none(tmp_path: Path) -> None:
    logs = {name: tmp_path / f"{name}.log" for name in PROCESSES}
    running = {}
    for name, log in logs.items():
        with log.open("wb") as output:
            running[name] = subprocess.Popen(
                [sys.executable, "-m", "api.cli", name],
                env={**bare_environment(), **secretive()},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
    try:
        for name, process in running.items():
            eventually(
                lambda log=logs[name], process=process: (  # type: ignore[misc]
                    log.stat().st_size or process.poll() is not None
                ),
                f"{name} complains, or ends",
            )
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.wait(30.0)
    for log in logs.values():
        assert HUSH not in log.read_text()
