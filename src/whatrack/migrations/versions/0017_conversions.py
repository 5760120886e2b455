"""Runs 0017_conversions.sql."""

from alembic import op

from whatrack.migrations import run_file

revision = "0017"
down_revision = "0010"


def upgrade() -> None:
    run_file(op.get_bind(), "0017_conversions")
