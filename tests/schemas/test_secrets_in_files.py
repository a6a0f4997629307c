"""Secrets given by file, as containers get them, and a settings object that prints none."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.settings import Settings, SettingsError


def test_a_setting_is_read_from_the_file_that_its_variable_names(tmp_path: Path) -> None:
    secret = tmp_path / "jwt"
    secret.write_text("from a file\n", encoding="utf-8")
    settings = Settings.from_environ(
        {"WALLET_JWT_SECRET_FILE": str(secret), "WALLET_KAFKA_SASL_PASSWORD_FILE": str(secret)}
    )
    assert settings.jwt_secret == "from a file"
    assert settings.kafka == {"sasl.password": "from a file"}


def test_a_setting_given_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="both set"):
        Settings.from_environ({"WALLET_JWT_SECRET": "x", "WALLET_JWT_SECRET_FILE": "y"})


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"WALLET_JWT_SECRET_FILE names .*No such"):
        Settings.from_environ({"WALLET_JWT_SECRET_FILE": str(tmp_path / "none")})


def test_a_file_that_is_no_text_is_not_shown(tmp_path: Path) -> None:
    secret = tmp_path / "binary"
    secret.write_bytes(b"hidden\xff")
    with pytest.raises(SettingsError, match="not UTF-8") as caught:
        Settings.from_environ({"WALLET_JWT_SECRET_FILE": str(secret)})
    assert "hidden" not in str(caught.value)


def test_a_file_of_an_unknown_setting_is_refused() -> None:
    with pytest.raises(SettingsError, match="WALLET_NONE_FILE is not a setting"):
        Settings.from_environ({"WALLET_NONE_FILE": "/x"})


def test_kafkas_own_settings_that_end_in_file_pass_through() -> None:
    name = "WALLET_KAFKA_SASL_OAUTHBEARER_ASSERTION_PRIVATE_KEY_FILE"
    settings = Settings.from_environ({name: "/key"})
    assert settings.kafka == {"sasl.oauthbearer.assertion.private.key.file": "/key"}


def test_a_settings_object_prints_no_secret() -> None:
    settings = Settings.from_environ(
        {
            "WALLET_JWT_SECRET": "hush1",
            "WALLET_NODE_PASSWORD": "hush2",
            "WALLET_API_DATABASE_URL": "postgresql://api:hush3@db/wallet",
            "WALLET_KAFKA_SASL_PASSWORD": "hush4",
            "WALLET_KAFKA_SSL_KEY_PEM": "hush5",
        }
    )
    assert "hush" not in f"{settings!r} {settings} {[settings]}"
    assert "********" in repr(settings)
