"""Runs 0016_connections.sql."""

from alembic import op

from whatrack.migrations import run_file

revision = "0016"
down_revision = "0010"


def upgrade() -> None:
    run_file(op.get_bind(), "0016_connections")
