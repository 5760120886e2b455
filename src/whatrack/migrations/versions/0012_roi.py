"""Runs 0012_roi.sql."""

from alembic import op

from whatrack.migrations import run_file

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    run_file(op.get_bind(), "0012_roi")
