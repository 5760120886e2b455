"""Runs 0007_board.sql."""

from alembic import op

from whatrack.migrations import run_file

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    run_file(op.get_bind(), "0007_board")
