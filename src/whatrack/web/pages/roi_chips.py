"""The rows that a report is narrowed to, a chip each, by the names they have."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import msgspec

from whatrack.roi.ask import LEVELS, Within
from whatrack.roi.named import Called
from whatrack.roi.report import Report
from whatrack.web.pages.i18n import _
from whatrack.web.pages.roi_filters import Filters

DIGITS = 6  # of an id, enough to tell two rows of one name apart


class Chip(msgspec.Struct, frozen=True):
    """An opened row that the report is narrowed to. apart: what tells it from others of its name; href: the same without it."""

    name: str
    apart: str
    href: str


def chips(names: Mapping[Within, Called], filters: Filters, path: str, unknown: str = "") -> list[Chip]:
    """A chip for each opened row, no two alike. unknown: what one without a name is called; its id where empty."""
    told = [names.get(each) or Called(unknown or each.id or _("sem nome"), None) for each in filters.parents]
    apart = endings([(each.name, each.account, parent.id) for each, parent in zip(told, filters.parents, strict=True)])  # fmt: skip
    return [
        Chip(
            each.name,
            ending,
            filters.to(
                path, within=tuple(other for other in filters.within if other != f"{row.kind}:{row.id}")
            ),
        )
        for each, ending, row in zip(told, apart, filters.parents, strict=True)
    ]


def distinct(rows: Sequence[tuple[str, str | None, str]]) -> list[str]:
    """Names that tell the rows apart: (name, account, id); of one name, with an ending."""
    return [row[0] + ending for row, ending in zip(rows, endings(rows), strict=True)]


def endings(rows: Sequence[tuple[str, str | None, str]]) -> list[str]:
    """What tells rows of one name apart: " · " and the account, or where that is one too, the id's end; '' of a name that is alone."""
    of_name = defaultdict[str, list[str | None]](list)
    for name, account, _id in rows:
        of_name[name].append(account)
    return [_apart(name, account, key, of_name[name]) for name, account, key in rows]


def _apart(name: str, account: str | None, key: str, accounts: Sequence[str | None]) -> str:
    if len(accounts) == 1:
        return ""
    if account and len({*accounts}) == len(accounts):
        return f" · {account}"
    return f" · …{key[-DIGITS:]}" if key and key != name else ""


def parents_of(found: Report) -> dict[Within, Called]:
    """What the rows of a page say that their parents are called."""
    told = [(row.account_name, (row.account_id, row.account_name, row.campaign_id, row.campaign_name, row.adset_id, row.adset_name)) for row in found.rows]  # fmt: skip
    return {
        Within(kind, key): Called(name, account)
        for account, ids in told
        for kind, key, name in zip(LEVELS, ids[::2], ids[1::2], strict=False)
        if key and name
    }
