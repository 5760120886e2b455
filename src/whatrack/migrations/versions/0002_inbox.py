"""Runs 0002_inbox.sql."""

from alembic import op

from whatrack.migrations import run_file

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    run_file(op.get_bind(), "0002_inbox")
