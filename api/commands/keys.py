"""``wallet keys``: make the account's keys offline, put the private one away, check it."""

from __future__ import annotations

import secrets
import sys
from typing import Final

import click
import msgspec

from api.commands.arguments import Commands
from processors.dogecoin.derivation import (
    AccountKeyUnusable,
    Keychain,
    MnemonicUnusable,
    PrivateAccount,
    PrivateKeyUnusable,
    account_keys,
    account_path,
    mnemonic_of,
    seed_of,
)
from processors.dogecoin.hidden import Hidden
from processors.dogecoin.keyring import Keyring
from schemas.addresses import NETWORKS
from schemas.settings import Settings
from streams.secrets import SecretFault, Secrets

_ENTROPY_BYTES: Final = {"12": 16, "24": 32}


@click.group("keys", cls=Commands)
def command() -> None:
    """Make the account's keys offline, put the private one away, check it.

    The wallet's addresses come from the account's public key (WALLET_ACCOUNT_XPUB). The private
    one lies in AWS Secrets Manager, where the payer alone may read it. The mnemonic, from which
    both can be made again, lies on paper and on no machine.
    """


@command.command("generate")
@click.option("--words", type=click.Choice([*_ENTROPY_BYTES]), default="24", show_default=True)
@click.option("--network", type=click.Choice([*NETWORKS]), help="Default: WALLET_NETWORK.")
@click.option("--passphrase", is_flag=True, help="Ask for a passphrase (BIP39) besides.")
@click.option("--pipe", is_flag=True, help="Show the words even if this is no terminal.")
def generate(words: str, network: str | None, passphrase: bool, pipe: bool) -> None:
    """Make a mnemonic and show it, with the account's two keys, once.

    Nothing is sent and nothing is written. Run it on a machine without a network, which is
    switched off afterwards; write the words on paper, twice.
    """
    _terminal_only(pipe)
    mnemonic = mnemonic_of(secrets.token_bytes(_ENTROPY_BYTES[words]))
    click.echo(f"The mnemonic, {words} words. Whoever has them has all coins. On paper, twice:\n")
    for number, word in enumerate(mnemonic.reveal().split(), 1):
        click.echo(f"  {number:>2}  {word}")
    click.echo()
    _show_account(mnemonic, _network(network), passphrase, again=True)


@command.command("restore")
@click.option("--network", type=click.Choice([*NETWORKS]), help="Default: WALLET_NETWORK.")
@click.option("--passphrase", is_flag=True, help="Ask for the passphrase (BIP39).")
@click.option("--pipe", is_flag=True, help="Show the keys even if this is no terminal.")
def restore(network: str | None, passphrase: bool, pipe: bool) -> None:
    """Show the account's two keys again, from the words of its mnemonic.

    They are asked for, or read from standard input, and never taken from the command line. Run it
    on a machine without a network.
    """
    _terminal_only(pipe)
    mnemonic = _ask("The words of the mnemonic, in their order")
    _show_account(mnemonic, _network(network), passphrase, again=False)


@command.command("store")
@click.option("--replace", is_flag=True, help="Replace the key of another account.")
@click.option("--name", help="Of the secret, where WALLET_ACCOUNT_SECRET names several.")
def store(replace: bool, name: str | None) -> None:
    """Put an account's private key into AWS Secrets Manager, as WALLET_ACCOUNT_SECRET.

    The key (dgpv, xprv, tgpv or tprv) is asked for, or read from standard input, and never taken
    from the command line, where every process of the machine could see it. It must be the one of
    WALLET_ACCOUNT_XPUB, if that is set, or of one of the accounts there.
    """
    settings = Settings.from_environ()
    settings.require("account_secret")
    settings = _one_secret(settings, name)
    xprv = _ask("The account's private key")
    try:
        fingerprint = _checked(xprv, settings)
        stored = Secrets(settings).store(xprv, replace=replace)
    except (AccountKeyUnusable, PrivateKeyUnusable, SecretFault) as error:
        raise click.ClickException(str(error)) from None
    done = "stored as" if stored else "was there already, in"
    click.echo(f"The key of account {fingerprint} {done} {settings.account_secret}.")
    click.echo("`wallet keys check` proves it.")


@command.command("check")
def check() -> None:
    """Prove that the secret is the private key of WALLET_ACCOUNT_XPUB; exits with 1 if not.

    Where several accounts are named, each must have its secret, and each secret its account.
    """
    settings = Settings.from_environ()
    try:
        keys = Secrets(settings).read()
    except (AccountKeyUnusable, SecretFault) as error:
        raise click.ClickException(str(error)) from None
    for key in keys:
        keychain = Keychain(key.xpub, settings.network)
        click.echo(f"{key.name} is the key of account {key.fingerprint} on {settings.network}:")
        click.echo(f"  public key     {key.xpub}")
        click.echo(f"  first deposit  {keychain.address(0, 0)}")
        click.echo(f"  first change   {keychain.address(1, 0)}")
        click.echo(f"  version        {key.version}")


def _one_secret(settings: Settings, name: str | None) -> Settings:
    """Settings that name the one secret that is meant."""
    named = Secrets(settings).names
    if name is None and len(named) > 1:
        raise click.UsageError(
            f"WALLET_ACCOUNT_SECRET names {len(named)} secrets; say by --name which one is meant"
        )
    if name is not None and name not in named:
        raise click.UsageError(f"WALLET_ACCOUNT_SECRET does not name {name}; put it there too")
    return msgspec.structs.replace(settings, account_secret=name or named[0])


def _checked(xprv: Hidden, settings: Settings) -> str:
    """The account's fingerprint; raises if it is none of the configured accounts'."""
    found = PrivateAccount(xprv, settings.network).public.fingerprint
    if settings.account_xpub:
        ours = Keyring(settings.account_xpub, settings.network)
        if found not in ours:
            raise PrivateKeyUnusable(
                f"it is of account {found}, and WALLET_ACCOUNT_XPUB is of account {ours.names}."
            )
    return found


def _show_account(mnemonic: Hidden, network: str, passphrase: bool, *, again: bool) -> None:
    salt = _ask("The passphrase", again=again) if passphrase else None
    try:
        private, public = account_keys(seed_of(mnemonic, salt), network)
    except MnemonicUnusable as error:
        raise click.ClickException(str(error)) from None
    keychain = Keychain(public, network)
    click.echo(f"Account {keychain.fingerprint}, {account_path(network)} on {network}\n")
    click.echo(f"PUBLIC key, for every process:\n  WALLET_ACCOUNT_XPUB={public}\n")
    click.echo(f"  its first address is {keychain.address(0, 0)}\n")
    click.echo(f"PRIVATE key, for Secrets Manager alone:\n  {private}\n")
    click.echo(
        "What to do with them:\n"
        "  1. The words: on paper, in two places. With them everything can be restored.\n"
        "  2. `wallet keys store`, where AWS is reached: it asks for the private key.\n"
        "  3. WALLET_ACCOUNT_XPUB: into the settings of every process.\n"
        "  4. `wallet keys check`, with the payer's rights: it proves that the two belong together."
    )


def _ask(what: str, *, again: bool = False) -> Hidden:
    """What somebody types unseen, or a line of standard input."""
    if sys.stdin.isatty():
        return Hidden(click.prompt(what, hide_input=True, confirmation_prompt=again, err=True))
    return Hidden(sys.stdin.readline().strip())


def _network(given: str | None) -> str:
    return given or Settings.from_environ().network


def _terminal_only(pipe: bool) -> None:
    """Keys that are shown must not land in a file by mistake."""
    if not pipe and not sys.stdout.isatty():
        raise click.ClickException(
            "the words would go into a file or another process; --pipe says that this is meant"
        )
