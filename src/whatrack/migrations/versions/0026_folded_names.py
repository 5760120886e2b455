"""Runs 0026_folded_names.sql."""

from alembic import op

from whatrack.migrations import run_file

revision = "0026"
down_revision = "0025"


def upgrade() -> None:
    run_file(op.get_bind(), "0026_folded_names")
