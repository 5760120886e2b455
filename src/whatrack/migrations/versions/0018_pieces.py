"""Runs 0018_pieces.sql."""

from alembic import op

from whatrack.migrations import run_file

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    run_file(op.get_bind(), "0018_pieces")
