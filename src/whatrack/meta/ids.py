"""An ad account's two spellings: `act_123` in addresses and settings, `123` on ads, insights and tickets."""

import re

_DIGITS = re.compile(r"(?:act_)?([0-9]{1,32})", re.ASCII)


def bare_account(text: str) -> str | None:
    """The digits of either spelling; None for anything else."""
    found = _DIGITS.fullmatch(text)
    return found[1] if found else None


def act_account(text: str) -> str | None:
    """`act_` and the digits, from either spelling; None for anything else."""
    digits = bare_account(text)
    return f"act_{digits}" if digits else None
