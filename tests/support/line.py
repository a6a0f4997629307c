"""The command line on a wallet of a test's own."""

from __future__ import annotations

import json
import secrets
from typing import Any

from click.testing import CliRunner, Result

from api.cli import group
from schemas.settings import Settings
from tests.conftest import Database
from tests.support.played import with_account
from tests.support.running import Teller, environment_of
from tests.support.story import Story


def settings_on(database: Database, kafka: str, partitions: int) -> Settings:
    prefix = f"t{secrets.token_hex(6)}."
    return with_account(
        Settings(
            database_url=database.owner_url,
            worker_database_url=database.worker_url,
            api_database_url=database.api_url,
            topic_prefix=prefix,
            group=f"{prefix}worker",
            partitions=partitions,
            kafka={"bootstrap.servers": kafka},
        )
    )


class Line:
    """The command line on one wallet."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.story = Story(settings.partitions)
        self.teller = Teller(settings)

    def run(self, *arguments: str, text: str | None = None) -> Result:
        """Run a command."""
        return CliRunner().invoke(group, arguments, env=environment_of(self.settings), input=text)

    def must(self, *arguments: str, code: int = 0) -> str:
        """Run a command that must end with a code; its output."""
        result = self.run(*arguments)
        assert result.exit_code == code, (arguments, result.output, result.exception)
        return result.output

    def answer(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        """Run a command that sends one, without being asked; its outcome."""
        result = self.run("operator", *arguments, "--yes", "--json")
        assert result.exit_code == code, (arguments, result.output, result.exception)
        found: dict[str, Any] = json.loads(result.stdout)
        return found
