"""Makes what ``docker-compose.yml`` reads its secrets from, once.

    python -m streams.local.compose [FOLDER]

A container gets each of its secrets as a file of the host's, with the host's owner and mode, and
our processes in there are a user that the host does not know. So the files may be read by
whoever reaches them, and the folder is closed: on the host its owner alone can walk into it.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from streams.local.errors import StackError
from streams.local.keys import Account, Passwords
from streams.local.postgres import SUPERUSER
from streams.local.roles import API, OWNER, PAYER, WATCHER, WORKER, url_as

FOLDER: Final = Path(".wallet/compose")
NETWORK: Final = "regtest"
DATABASE: Final = "wallet"
#: The database's service, by which the others reach it.
SERVER: Final = "postgres:5432"

_ADDRESS_OF: Final = {
    "database_url": OWNER,
    "worker_database_url": WORKER,
    "api_database_url": API,
    "watcher_database_url": WATCHER,
    "payer_database_url": PAYER,
}


def contents(
    passwords: Passwords, account: Account, *, server: str = SERVER, database: str = DATABASE
) -> dict[str, str]:
    """Every secret's name and value."""
    superuser = f"postgresql://{SUPERUSER}@{server}/postgres"
    own = passwords.of_roles()
    return {
        "superuser_password": passwords.superuser,
        "superuser_database_url": url_as(superuser, "postgres", SUPERUSER, passwords.superuser),
        **{
            name: url_as(superuser, database, role, own[role]) for name, role in _ADDRESS_OF.items()
        },
        "jwt_secret": passwords.jwt_secret,
        "account_xpub": account.account_xpub,
        "account_xprv": account.account_xprv,
    }


def write(folder: Path, values: Mapping[str, str]) -> None:
    """Write each into a file of its own, all or none; raises ``StackError`` where some are.

    Never over what is there: the database's volume knows those passwords alone.
    """
    if folder.exists():
        raise StackError(
            f"{folder} is there already, and the containers' data open to nothing else: it stays "
            "as it is. To start anew, remove it together with the volumes "
            "(`docker compose down --volumes`)"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix="compose.", dir=folder.parent))
    try:
        for name, value in values.items():
            opened = os.open(part / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(opened, "w") as file:
                file.write(value)
                os.fchmod(file.fileno(), 0o444)
        # Of the owner alone, as `mkdtemp` made it.
        part.rename(folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def main(arguments: list[str]) -> int:
    """Make them for a chain of one's own, with a new account key."""
    folder = Path(arguments[0]) if arguments else FOLDER
    try:
        write(folder, contents(Passwords.make(), Account.make(NETWORK)))
    except StackError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    print(f"the secrets are in {folder}; `docker compose up --detach --build` starts the rest")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
