"""Runs 0017_ad_parents.sql."""

from alembic import op

from whatrack.migrations import run_file

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    run_file(op.get_bind(), "0017_ad_parents")
