"""Runs 0020_pieces.sql."""

from alembic import op

from whatrack.migrations import run_file

revision = "0020"
down_revision = "0016"


def upgrade() -> None:
    run_file(op.get_bind(), "0020_pieces")
