"""Runs 0021_reasons.sql."""

from alembic import op

from whatrack.migrations import run_file

revision = "0021"
down_revision = "0019"


def upgrade() -> None:
    run_file(op.get_bind(), "0021_reasons")
