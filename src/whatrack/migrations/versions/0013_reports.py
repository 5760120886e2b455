"""Runs 0013_reports.sql."""

from alembic import op

from whatrack.migrations import run_file

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    run_file(op.get_bind(), "0013_reports")
