"""Runs 0024_set_aside.sql."""

from alembic import op

from whatrack.migrations import run_file

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    run_file(op.get_bind(), "0024_set_aside")
