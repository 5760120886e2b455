"""Runs 0005_attribution.sql."""

from alembic import op

from whatrack.migrations import run_file

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    run_file(op.get_bind(), "0005_attribution")
