"""One conversation as it truly is: which ad led to it, what was said when, what the salesperson did, and what was paid.

Times are unix seconds, money is in minor units. A case may hold what has not happened yet: whoever reads it says until when.
"""

from dataclasses import dataclass, field
from typing import Any

AD_KIND, POST_KIND, UNIDENTIFIED, ORGANIC_KIND = "ad", "post", "unidentified", "organic"


@dataclass(frozen=True)
class Touch:
    """A tap on an ad or a post. kind unidentified: an ad of which the message does not say the id.

    ad_id: the ad that was tapped all the same, whose post it is where kind is post. clid: None where Meta gives none.
    known: whether Meta will recognise the click id when an event names it.
    """

    kind: str
    ad_id: str
    clid: str | None
    known: bool = True


@dataclass(frozen=True)
class Line:
    """Something a person wrote. wa_id: with or without the ninth digit. late: it reaches the business after newer ones."""

    at: int
    text: str
    wa_id: str
    touch: Touch | None = None
    late: bool = False


@dataclass(frozen=True)
class Act:
    """Something the salesperson did: qualified, won, lost, refunded. minor: what was paid or given back."""

    at: int
    what: str
    minor: int = 0
    reason: str = ""


@dataclass
class Case:
    """A conversation of one person on one number. is_lead: not so when they only say thanks after a sale.

    currency: of what they pay. Lines and acts are in the order of time.
    """

    serial: int
    name: str
    wa_id: str
    number_id: str
    currency: str
    lines: list[Line] = field(default_factory=list)
    acts: list[Act] = field(default_factory=list)
    is_lead: bool = True

    @property
    def opened_at(self) -> int:
        """When the first thing was said."""
        return self.lines[0].at

    def credited(self, now: float) -> tuple[int, Touch] | None:
        """The last touch until now and its moment, which is that of the message it led to; None when nothing led here."""
        touched = [(line.at, line.touch) for line in self.lines if line.touch and line.at <= now]
        return max(touched, key=lambda each: each[0], default=None)

    def first(self, what: tuple[str, ...], now: float) -> Act | None:
        """The first act of these kinds until now."""
        return next((act for act in self.acts if act.what in what and act.at <= now), None)

    def refunds(self, now: float) -> list[Act]:
        """What was given back until now."""
        return [act for act in self.acts if act.what == "refunded" and act.at <= now]

    def as_json(self, now: float) -> dict[str, Any]:
        """As the admin API tells it, until now."""
        credit = self.credited(now)
        won, qualified = self.first(("won",), now), self.first(("qualified", "won"), now)
        lost = self.first(("lost",), now)
        return {
            "name": self.name,
            "wa_id": self.wa_id,
            "number_id": self.number_id,
            "opened_at": self.opened_at,
            "is_lead": self.is_lead,
            "credited_to": credit[1].kind if credit else ORGANIC_KIND,
            "ad_id": credit[1].ad_id if credit and credit[1].kind == AD_KIND else None,
            "ctwa_clid": credit[1].clid if credit else None,
            "touched_at": credit[0] if credit else None,
            "qualified_at": qualified.at if qualified else None,
            "won_at": won.at if won else None,
            "value": won.minor if won else None,
            "currency": self.currency,
            "refunds": [{"at": act.at, "amount": act.minor} for act in self.refunds(now)],
            "lost_at": lost.at if lost else None,
            "lost_reason": lost.reason if lost else None,
        }
