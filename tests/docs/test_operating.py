"""What the page for operators has them run."""

from __future__ import annotations

import secrets

import psycopg

from db.roles import ROLES
from tests.docs.pages import ROOT, blocks


def test_a_superuser_can_make_roles_and_database_as_the_page_says(postgres_server: str) -> None:
    (block,) = [b for b in blocks(ROOT / "docs" / "operating.md") if b.name == "roles"]
    own = f"docs_{secrets.token_hex(4)}"
    script = block.code
    for name in (*ROLES, "DATABASE wallet"):
        assert name in script
    # Names of the test's own, since the server has the real ones already.
    script = script.replace("wallet_", f"{own}_").replace("DATABASE wallet", f"DATABASE {own}")
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        try:
            for statement in script.split(";\n"):
                connection.execute(statement)
            found = connection.execute(
                "SELECT datcollate, datacl::text FROM pg_database WHERE datname = %s", [own]
            ).fetchone()
        finally:
            connection.execute(f"DROP DATABASE IF EXISTS {own}")
            for role in ROLES:
                connection.execute(f"DROP ROLE IF EXISTS {role.replace('wallet_', f'{own}_')}")
    assert found is not None
    locale, access = found
    assert locale == "C"
    # Connect for the services, and nothing for PUBLIC, whose grants begin with "=".
    for role in ROLES[1:]:
        assert f"{role.replace('wallet_', f'{own}_')}=c/" in access
    assert "{=" not in access
    assert ",=" not in access
