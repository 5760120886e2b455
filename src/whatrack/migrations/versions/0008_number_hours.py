"""Runs 0008_number_hours.sql."""

from alembic import op

from whatrack.migrations import run_file

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    run_file(op.get_bind(), "0008_number_hours")
