"""Runs 0015_connections.sql."""

from alembic import op

from whatrack.migrations import run_file

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    run_file(op.get_bind(), "0015_connections")
