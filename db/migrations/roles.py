"""What a migration needs before it can grant anything."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op


def require_role(*names: str) -> None:
    """Raise ``RuntimeError``, with the way out, unless the server has all these roles."""
    known = sa.text("SELECT rolname FROM pg_roles WHERE rolname = ANY(:names)")
    found = set(op.get_bind().scalars(known, {"names": list(names)}))
    missing = sorted(set(names) - found)
    if missing:
        raise RuntimeError(
            f"There is no role {' and no role '.join(missing)} for the service to connect as. "
            "Let a superuser create what is missing, then migrate again: "
            "CREATE ROLE name LOGIN PASSWORD '…'; `wallet up` does so by itself."
        )
