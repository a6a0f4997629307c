"""The roles' passwords as their own addresses state them."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from api.cli import group
from db.engine import DatabaseUrlError
from db.roles import API, OWNER, RoleUrlError, stated

GOOD = {
    OWNER: f"postgresql://{OWNER}:o%40wn@db:5432/wallet?sslmode=verify-full",
    API: f"postgres://{API}:hush@db/wallet",
}


def test_one_database_and_each_roles_password() -> None:
    assert stated(GOOD) == ("wallet", {OWNER: "o@wn", API: "hush"})


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://postgres:hush@db/wallet", "has the user postgres"),
        ("postgresql://db/wallet", "has the user none"),
        (f"postgresql://{API}@db/wallet", "has no password"),
        (f"postgresql://{API}:hush@db/other", "do not name one database"),
        (f"postgresql://{API}:hush@db/wallet?foo=1", "cannot be read"),
    ],
)
def test_what_is_wrong_is_told_without_a_password(url: str, told: str) -> None:
    with pytest.raises((RoleUrlError, DatabaseUrlError), match=told) as caught:
        stated({**GOOD, API: url})
    assert "hush" not in str(caught.value)


def test_the_command_says_which_address_is_missing() -> None:
    done = CliRunner(env={"WALLET_SUPERUSER_DATABASE_URL": "postgresql://p:hush@db/p"}).invoke(
        group, ["roles"]
    )
    assert "WALLET_DATABASE_URL is not set" in str(done.exception)
