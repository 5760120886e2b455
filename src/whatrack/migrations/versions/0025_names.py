"""Runs 0025_names.sql."""

from alembic import op

from whatrack.migrations import run_file

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    run_file(op.get_bind(), "0025_names")
