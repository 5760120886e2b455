"""Runs 0010_conversions.sql."""

from alembic import op

from whatrack.migrations import run_file

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    run_file(op.get_bind(), "0010_conversions")
