"""Every page that is looked at: in both themes, on a wide screen and a narrow one. Add yours here.

A page is opened by someone, and perhaps brought into a state: a dialog open, a message beside a field.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from playwright.async_api import Page as Tab

Steps = Callable[[Tab], Awaitable[None]]


@dataclass(frozen=True)
class Page:
    """name: of its picture. path: with {ticket} and its kin of Site.places. who: a role, operator, stranger or nobody."""

    name: str
    path: str
    who: str = "owner"
    steps: Steps | None = None
    status: int = 200  # of the page, or of what its steps end in


PAGES = (
    Page("tickets", "/tickets"),
    Page("not-found", "/nowhere", status=404),
    Page("forbidden", "/tickets", who="stranger", status=403),
)
