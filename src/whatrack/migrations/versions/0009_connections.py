"""Runs 0009_connections.sql."""

from alembic import op

from whatrack.migrations import run_file

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    run_file(op.get_bind(), "0009_connections")
