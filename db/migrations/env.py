"""What Alembic runs: the migrations, on the connection that ``db.migrate`` hands over."""

from __future__ import annotations

from alembic import context

from db.tables import metadata


def _run() -> None:
    connection = context.config.attributes["connection"]
    context.configure(connection=connection, target_metadata=metadata, compare_type=True)
    with context.begin_transaction():
        context.run_migrations()


_run()
