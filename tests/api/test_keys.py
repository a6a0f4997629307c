"""``wallet keys``: made offline, stored without a trace, proved by a check."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner, Result

from api.cli import group
from processors.dogecoin.derivation import Keychain, account_keys, seed_of
from processors.dogecoin.hidden import Hidden
from streams.local.aws import EmbeddedAws
from streams.local.process import free_port

MNEMONIC: Final = "abandon " * 11 + "about"
XPRV, XPUB = account_keys(seed_of(Hidden(MNEMONIC)), "regtest")
OTHER_XPRV, OTHER_XPUB = account_keys(b"another seed of the tests" * 2, "regtest")


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedAws]:
    """An emulator with nothing in it."""
    made = EmbeddedAws(tmp_path_factory.mktemp("aws"), port=free_port(), network="regtest")
    made.start()
    yield made
    made.stop()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to run in, without any setting."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def wallet(*arguments: str, typed: str = "", **env: str) -> Result:
    """Run the command line with standard input."""
    return CliRunner().invoke(group, ["keys", *arguments], input=typed, env=env)


@pytest.mark.parametrize(("words", "network"), [("12", "regtest"), ("24", "mainnet")])
def test_what_is_generated_leads_to_the_keys_that_are_shown(
    home: Path, words: str, network: str
) -> None:
    told = wallet("generate", "--words", words, "--network", network, "--pipe")
    assert told.exit_code == 0, told.output
    lines = told.stdout.splitlines()
    mnemonic = [line.split()[1] for line in lines if line[:4].strip().isdigit()]
    assert len(mnemonic) == int(words)
    private, public = account_keys(seed_of(Hidden(" ".join(mnemonic))), network)
    assert f"  WALLET_ACCOUNT_XPUB={public}" in lines
    assert f"  {private}" in lines
    assert Keychain(public, network).address(0, 0) in told.stdout
    assert "`wallet keys store`" in told.stdout
    assert not list(home.rglob("*")), "something was written"


def test_every_mnemonic_is_another(home: Path) -> None:
    first, second = (wallet("generate", "--pipe").stdout for _ in range(2))
    assert first != second


@pytest.mark.parametrize("command", ["generate", "restore"])
def test_keys_are_not_shown_to_a_file_by_mistake(home: Path, command: str) -> None:
    told = wallet(command, typed=MNEMONIC)
    assert told.exit_code == 1
    assert "--pipe says that this is meant" in told.stderr
    assert not told.stdout


def test_the_keys_are_restored_from_the_words(home: Path) -> None:
    told = wallet("restore", "--pipe", typed=f"  {MNEMONIC.upper()}  \n")
    assert told.exit_code == 0, told.output
    assert XPUB in told.stdout and XPRV in told.stdout
    assert "abandon" not in told.stdout
    other = wallet("restore", "--pipe", "--passphrase", typed=f"{MNEMONIC}\nmuch wow\n")
    assert XPUB not in other.stdout
    wanted = account_keys(seed_of(Hidden(MNEMONIC), Hidden("much wow")), "regtest")
    assert wanted[1] in other.stdout


@pytest.mark.parametrize("typed", ["", "abandon", "abandon " * 12, MNEMONIC[:-1]])
def test_words_that_are_no_mnemonic_are_told(home: Path, typed: str) -> None:
    told = wallet("restore", "--pipe", typed=typed)
    assert told.exit_code == 1
    assert "look at each word" in told.stderr


@pytest.fixture
def env(emulator: EmbeddedAws, request: pytest.FixtureRequest, home: Path) -> dict[str, str]:
    """The environment of a deployment whose secret is not there yet."""
    return emulator.environment() | {
        "WALLET_NETWORK": "regtest",
        "WALLET_ACCOUNT_XPUB": XPUB,
        "WALLET_ACCOUNT_SECRET": f"wallet/{request.node.name}",
    }


def test_a_stored_key_is_checked(env: dict[str, str]) -> None:
    before = wallet("check", **env)
    assert before.exit_code == 1
    assert isinstance(before.exception, SystemExit)
    assert "there is no secret" in before.stderr
    stored = wallet("store", typed=f"{XPRV}\n", **env)
    assert stored.exit_code == 0, stored.output
    assert "stored as wallet/" in stored.stdout
    checked = wallet("check", **env)
    assert checked.exit_code == 0, checked.output
    assert "mkpZhYtJu2r87Js3pDiWJDmPte2NRZ8bJV" in checked.stdout
    again = wallet("store", typed=f"{XPRV}\n", **env)
    assert "was there already" in again.stdout
    for told in (before, stored, checked, again):
        assert XPRV[4:40] not in told.output


def test_where_several_secrets_are_named_each_is_stored_by_its_name(env: dict[str, str]) -> None:
    two = f"{env['WALLET_ACCOUNT_SECRET']}-2"
    env = env | {
        "WALLET_ACCOUNT_XPUB": f"{XPUB},{OTHER_XPUB}",
        "WALLET_ACCOUNT_SECRET": f"{env['WALLET_ACCOUNT_SECRET']},{two}",
    }
    unsaid = wallet("store", typed=f"{XPRV}\n", **env)
    assert unsaid.exit_code == 2
    assert "say by --name" in unsaid.stderr
    unknown = wallet("store", "--name", "elsewhere", typed=f"{XPRV}\n", **env)
    assert unknown.exit_code == 2
    assert "does not name elsewhere" in unknown.stderr
    first = env["WALLET_ACCOUNT_SECRET"].partition(",")[0]
    assert wallet("store", "--name", first, typed=f"{XPRV}\n", **env).exit_code == 0
    lacking = wallet("check", **env)
    assert "there is no secret" in lacking.stderr
    assert wallet("store", "--name", two, typed=f"{OTHER_XPRV}\n", **env).exit_code == 0
    checked = wallet("check", **env)
    assert checked.exit_code == 0, checked.output
    assert checked.stdout.count("is the key of account") == 2


def test_the_key_of_another_account_is_neither_stored_nor_passed(env: dict[str, str]) -> None:
    told = wallet("store", typed=f"{OTHER_XPRV}\n", **env)
    assert told.exit_code == 1
    assert "and WALLET_ACCOUNT_XPUB is of account" in told.stderr
    without = {name: value for name, value in env.items() if name != "WALLET_ACCOUNT_XPUB"}
    assert wallet("store", typed=f"{OTHER_XPRV}\n", **without).exit_code == 0
    checked = wallet("check", **env)
    assert checked.exit_code == 1
    assert "names the wrong one" in checked.stderr
    refused = wallet("store", typed=f"{XPRV}\n", **env)
    assert refused.exit_code == 1
    replaced = wallet("store", "--replace", typed=f"{XPRV}\n", **env)
    assert replaced.exit_code == 0, replaced.output
    assert wallet("check", **env).exit_code == 0


@pytest.mark.parametrize("typed", ["", "\n", XPUB, "tgpv"])
def test_what_is_no_private_key_is_not_stored(env: dict[str, str], typed: str) -> None:
    told = wallet("store", typed=typed, **env)
    assert told.exit_code == 1
    assert "private key cannot be used" in told.stderr
    assert wallet("check", **env).exit_code == 1


def test_a_key_is_never_taken_from_the_command_line(env: dict[str, str]) -> None:
    assert wallet("store", XPRV, **env).exit_code == 2
    for command in ("store", "generate", "restore"):
        options = wallet(command, "--help").output
        assert "xprv TEXT" not in options.lower() and "mnemonic TEXT" not in options
