"""Runs 0014_drain.sql."""

from alembic import op

from whatrack.migrations import run_file

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    run_file(op.get_bind(), "0014_drain")
