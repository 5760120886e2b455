"""Runs 0022_overlapping_blocks.sql."""

from alembic import op

from whatrack.migrations import run_file

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    run_file(op.get_bind(), "0022_overlapping_blocks")
