"""Runs 0023_letters.sql."""

from alembic import op

from whatrack.migrations import run_file

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    run_file(op.get_bind(), "0023_letters")
