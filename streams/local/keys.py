"""What the local stack makes up once and keeps: passwords, ports, and the account key.

All of it lies under ``.wallet`` in files that their owner alone may read. A real deployment is
given these; nothing here is a default that one could forget to change.
"""

from __future__ import annotations

import os
import secrets
import uuid
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from streams.local.errors import StackError
from streams.local.process import free_port, port_is_free

#: Where the servers are looked for first: near their usual ports, yet not on them.
DATABASE_PORT: Final = 15432
BROKER_PORT: Final = 19092
NODE_PORT: Final = 18332
AWS_PORT: Final = 15000

Stored = TypeVar("Stored", bound=msgspec.Struct)


class Passwords(msgspec.Struct, frozen=True, kw_only=True):
    """Of the database's superuser and roles, and the secret of the API's tokens."""

    superuser: str
    wallet_owner: str
    wallet_worker: str
    wallet_api: str
    jwt_secret: str
    # A home of an older release lacks these; they are added to it.
    wallet_watcher: str = ""
    wallet_payer: str = ""

    @classmethod
    def make(cls) -> Passwords:
        """New ones."""
        return cls(**{name: secrets.token_urlsafe(32) for name in cls.__struct_fields__})

    def of_roles(self) -> dict[str, str]:
        """Role to password."""
        return {
            "wallet_owner": self.wallet_owner,
            "wallet_worker": self.wallet_worker,
            "wallet_api": self.wallet_api,
            "wallet_watcher": self.wallet_watcher,
            "wallet_payer": self.wallet_payer,
        }


class Ports(msgspec.Struct, frozen=True, kw_only=True):
    """Where the servers listen; kept, so that producers need no new address after a restart."""

    database: int
    broker: int
    node: int = 0
    aws: int = 0


#: Whichever are free.
_ANY: Final = Ports(database=0, broker=0)


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """The key that deposit addresses come from, and a user to try the wallet with."""

    network: str
    account_xprv: str
    account_xpub: str
    user_id: str

    @classmethod
    def make(cls, network: str) -> Account:
        """A new account, m/44'/1'/0' of a random seed."""
        # Here, since the library takes a second to load and is needed the first time alone.
        from processors.dogecoin.derivation import account_keys

        xprv, xpub = account_keys(secrets.token_bytes(64), network)
        return cls(network=network, account_xprv=xprv, account_xpub=xpub, user_id=str(uuid.uuid4()))


def passwords(home: Path) -> Passwords:
    """Those of this ``home``, made the first time; never again beside data that knows others."""
    path = home / "passwords.json"
    if not path.exists() and (home / "postgres").exists():
        raise StackError(
            f"{path} is gone, and the database under {home} opens to no other passwords: "
            f"restore it from a copy, or remove all of {home} and start with empty books"
        )
    kept = _kept(path, Passwords)
    if kept is None:
        return _keep(path, Passwords.make())
    made = {
        name: secrets.token_urlsafe(32)
        for name in Passwords.__struct_fields__
        if not getattr(kept, name)
    }
    return _keep(path, msgspec.structs.replace(kept, **made)) if made else kept


def account(home: Path, network: str) -> Account:
    """The account key of this ``home`` on a test network, made the first time."""
    if network == "mainnet":
        raise StackError(
            "mainnet takes real coins: set WALLET_ACCOUNT_XPUB to the key of an account whose "
            "private key is kept elsewhere"
        )
    path = _path_of(home, network, 1)
    return _kept(path, Account) or _keep(path, Account.make(network))


def accounts(home: Path, network: str) -> list[Account]:
    """All accounts of this ``home`` on a test network, in the order in which they were made."""
    found = [account(home, network)]
    while (later := _kept(_path_of(home, network, len(found) + 1), Account)) is not None:
        found.append(later)
    return found


def have_accounts(home: Path, network: str, count: int) -> list[Account]:
    """All accounts of this ``home``, of which there are ``count`` now: others are to rotate to.

    Those that are made are for the same user to try them with.
    """
    known = accounts(home, network)
    while len(known) < count:
        made = msgspec.structs.replace(Account.make(network), user_id=known[0].user_id)
        known.append(_keep(_path_of(home, network, len(known) + 1), made))
    return known


def _path_of(home: Path, network: str, number: int) -> Path:
    return home / "keys" / (f"{network}.json" if number == 1 else f"{network}-{number}.json")


def ports(home: Path, asked: Ports = _ANY) -> Ports:
    """The ports of this ``home``, chosen the first time; those that are asked for win."""
    path = home / "ports.json"
    kept = _kept(path, Ports) or _ANY
    near = {"database": DATABASE_PORT, "broker": BROKER_PORT, "node": NODE_PORT, "aws": AWS_PORT}
    chosen = {
        name: getattr(asked, name) or getattr(kept, name) or _free_near(port)
        for name, port in near.items()
    }
    return _keep(path, Ports(**chosen))


def write_private(path: Path, text: str) -> None:
    """Write a file that its owner alone may read, at once or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def _free_near(port: int) -> int:
    return port if port_is_free(port) else free_port()


def _kept(path: Path, kind: type[Stored]) -> Stored | None:
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    except PermissionError:
        raise StackError(
            f"{path} belongs to another user: run as the one who started this wallet first"
        ) from None
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.DecodeError as error:
        raise StackError(f"{path} cannot be read ({error}): restore it from a copy") from None


def _keep(path: Path, value: Stored) -> Stored:
    write_private(path, msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")
    return value
