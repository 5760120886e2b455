"""Pages of a list, with cursors.

Source: Meta, "Paginated results" (Graph API), read 2026-11: a page may be shorter than `limit`, even empty with a `next`;
only a missing `next` is the end. A page after the end has no `paging` at all, as on the live API.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from whatrack.sandbox.failures import bad_parameter

DEFAULT_LIMIT = 25
MAX_LIMIT = 5000


def limit_of(params: Mapping[str, str]) -> int:
    """How many the caller wants on a page."""
    text = params.get("limit", str(DEFAULT_LIMIT))
    try:
        limit = int(text)
    except ValueError:
        raise bad_parameter("Param limit must be an integer") from None
    if limit < 0:
        raise bad_parameter("Param limit must be greater than 0")
    return min(limit or DEFAULT_LIMIT, MAX_LIMIT)


def page_of(
    found: Sequence[Any],
    params: Mapping[str, str],
    address: str,
    *,
    short: bool = False,
    empty_first: bool = False,
) -> dict[str, Any]:
    """One page of `found`. address: the list's own URL, which `next` extends by the caller's parameters.

    short: half as many as asked for; empty_first: before the first entries comes a page with none.
    """
    limit, total = limit_of(params), len(found)
    start, had_empty = _place(params.get("after"))
    if "before" in params and "after" not in params:
        end = _place(params["before"])[0]
        start = max(0, end - limit)
    if empty_first and not had_empty and total:
        paging = {"cursors": {"before": _cursor(start), "after": _cursor(start, empty=True)}}
        link = _link(address, params, after=_cursor(start, empty=True))
        return {"data": [], "paging": {**paging, "next": link}}
    rows = found[start : start + (max(1, limit // 2) if short else limit)]
    if not rows:
        return {"data": []}
    end = start + len(rows)
    after = _cursor(end, empty=had_empty)
    page: dict[str, Any] = {
        "data": list(rows),
        "paging": {"cursors": {"before": _cursor(start), "after": after}},
    }
    if end < total:
        page["paging"]["next"] = _link(address, params, after=after)
    if start > 0:
        page["paging"]["previous"] = _link(address, params, before=_cursor(start))
    return page


def _link(address: str, params: Mapping[str, str], **cursor: str) -> str:
    kept = {name: value for name, value in params.items() if name not in ("after", "before")}
    return f"{address}?{urlencode({**kept, **cursor})}"


def _cursor(place: int, *, empty: bool = False) -> str:
    return base64.urlsafe_b64encode(f"{place}{'e' if empty else ''}".encode()).decode().rstrip("=")


def _place(cursor: str | None) -> tuple[int, bool]:
    if not cursor:
        return 0, False
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        return int(text.removesuffix("e")), text.endswith("e")
    except (binascii.Error, ValueError):
        raise bad_parameter("Invalid cursors values: the cursor provided is not valid") from None
