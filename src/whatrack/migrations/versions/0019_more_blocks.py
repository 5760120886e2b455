"""Runs 0019_more_blocks.sql."""

from alembic import op

from whatrack.migrations import run_file

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    run_file(op.get_bind(), "0019_more_blocks")
