"""Settings: read strictly, in one place, and never shown with their secrets."""

from __future__ import annotations

import pytest

from schemas.settings import Settings, SettingsError


def test_without_any_variable_the_defaults_hold() -> None:
    assert Settings.from_environ({}) == Settings()


def test_numbers_are_read_from_text_and_librdkafkas_settings_pass_through() -> None:
    settings = Settings.from_environ(
        {
            "WALLET_PARTITIONS": "24",
            "WALLET_API_WAIT_SECONDS": "2.5",
            "WALLET_KAFKA_BOOTSTRAP_SERVERS": "broker:9092",
            "WALLET_KAFKA_SASL_USERNAME": "anna",
            "PATH": "/bin",
        }
    )
    assert (settings.partitions, settings.api_wait_seconds) == (24, 2.5)
    assert settings.kafka == {"bootstrap.servers": "broker:9092", "sasl.username": "anna"}


def test_an_unknown_variable_is_refused_by_its_name() -> None:
    with pytest.raises(SettingsError, match="WALLET_PARTITION is not a setting"):
        Settings.from_environ({"WALLET_PARTITION": "24"})


def test_the_field_of_pass_through_settings_is_no_variable_itself() -> None:
    with pytest.raises(SettingsError, match="WALLET_KAFKA is not a setting"):
        Settings.from_environ({"WALLET_KAFKA": "x"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WALLET_PARTITIONS", "many"),
        ("WALLET_PARTITIONS", "0"),
        ("WALLET_PARTITIONS", "1.5"),
        ("WALLET_API_PORT", "65536"),
        ("WALLET_API_PORT", "-1"),
        ("WALLET_API_WAIT_SECONDS", "0"),
        ("WALLET_API_WAIT_SECONDS", "nan"),
        ("WALLET_API_WAIT_SECONDS", "soon"),
        ("WALLET_RULES_ESCROW_FEE_BASIS_POINTS", "10001"),
        ("WALLET_NETWORK", "main"),
        ("WALLET_NETWORK", ""),
        ("WALLET_LOG_LEVEL", "LOUD"),
    ],
)
def test_a_value_of_the_wrong_type_or_range_is_refused_by_its_name(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} cannot be read"):
        Settings.from_environ({name: value})


def test_what_a_process_needs_is_asked_for_by_name() -> None:
    with pytest.raises(SettingsError, match="WALLET_WORKER_DATABASE_URL is not set"):
        Settings().require("worker_database_url")
    with pytest.raises(SettingsError, match="WALLET_KAFKA_BOOTSTRAP_SERVERS is not set"):
        Settings().require("kafka")
    Settings(kafka={"bootstrap.servers": "b:1"}, group="g").require("kafka", "group")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WALLET_JWT_SECRET", "hush"),
        ("WALLET_KAFKA_SASL_PASSWORD", "hush"),
        ("WALLET_KAFKA_SSL_KEY_PASSWORD", "hush"),
        ("WALLET_KAFKA_SSL_KEY_PEM", "-----BEGIN PRIVATE KEY----- hush"),
        ("WALLET_KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET", "hush"),
        ("WALLET_DATABASE_URL", "postgresql://owner:hush@db:5432/wallet"),
        ("WALLET_DATABASE_URL", "postgresql://owner:p@hush@db:5432/wallet"),
        ("WALLET_DATABASE_URL", "postgresql://:hush@db/wallet"),
        ("WALLET_DATABASE_URL", "postgresql://db/wallet?user=owner&password=hush&sslmode=require"),
        ("WALLET_API_DATABASE_URL", "host=db user=api password=hush"),
    ],
)
def test_no_secret_is_ever_shown(name: str, value: str) -> None:
    settings = Settings.from_environ({name: value})
    shown = settings.redacted()[name]
    assert "hush" not in str(settings.redacted())
    assert "********" in shown


def test_what_is_no_secret_is_shown_as_it_is() -> None:
    settings = Settings.from_environ({"WALLET_DATABASE_URL": "postgresql://owner@db:5432/wallet"})
    shown = settings.redacted()
    assert shown["WALLET_DATABASE_URL"] == "postgresql://owner@db:5432/wallet"
    assert shown["WALLET_PARTITIONS"] == "12"
    assert shown["WALLET_JWT_SECRET"] == ""


def test_the_database_role_is_still_readable_beside_its_starred_password() -> None:
    settings = Settings(database_url="postgresql://owner:hush@db:5432/wallet?sslmode=require")
    shown = settings.redacted()["WALLET_DATABASE_URL"]
    assert shown == "postgresql://owner:********@db:5432/wallet?sslmode=require"
