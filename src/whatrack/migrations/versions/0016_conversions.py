"""Runs 0016_conversions.sql."""

from alembic import op

from whatrack.migrations import run_file

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    run_file(op.get_bind(), "0016_conversions")
