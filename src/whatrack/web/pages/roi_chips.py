"""The rows that a report is narrowed to, a chip each, by the names they have."""

from collections.abc import Mapping

import msgspec

from whatrack.roi.ask import LEVELS, Within
from whatrack.roi.report import Report
from whatrack.web.pages.i18n import _
from whatrack.web.pages.roi_filters import Filters


class Chip(msgspec.Struct, frozen=True):
    """An opened row that the report is narrowed to. href: the same without it."""

    name: str
    href: str


def chips(names: Mapping[Within, str], filters: Filters, path: str, unknown: str = "") -> list[Chip]:
    """A chip for each opened row. unknown: what one without a name is called; its id where empty."""
    return [
        Chip(
            names.get(each) or unknown or each.id or _("sem nome"),
            filters.to(
                path, within=tuple(other for other in filters.within if other != f"{each.kind}:{each.id}")
            ),
        )
        for each in filters.parents
    ]


def parents_of(found: Report) -> dict[Within, str]:
    """What the rows of a page say that their parents are called."""
    told = [(row.account_id, row.account_name, row.campaign_id, row.campaign_name, row.adset_id, row.adset_name) for row in found.rows]  # fmt: skip
    return {
        Within(kind, key): name
        for ids in told
        for kind, key, name in zip(LEVELS, ids[::2], ids[1::2], strict=False)
        if key and name
    }
