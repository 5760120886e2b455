"""What there is in the sandbox: people, businesses, ad accounts, ads, datasets, WhatsApp numbers, tokens, clicks, events.

Plain values; `World` finds them by id. Ids are text, as everywhere: Meta's exceed 2^53.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import Any, TypeAlias, TypeVar

from whatrack.sandbox.clock import Clock

CAMPAIGN, AD_SET, AD = "campaign", "adset", "ad"
HIDDEN = frozenset({"ARCHIVED", "DELETED"})  # what lists leave out unless asked for


@dataclass
class App:
    """A Meta app. callback_url: where its webhooks go; configurations: Facebook Login for Business, id → permissions."""

    id: str
    secret: str
    name: str
    callback_url: str = ""
    verify_token: str = ""
    require_proof: bool = False
    configurations: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass
class Person:
    """Somebody with a Facebook login, or a system user. account_ids: ad accounts they have a role on."""

    id: str
    name: str
    account_ids: list[str] = field(default_factory=list)
    business_ids: list[str] = field(default_factory=list)
    is_system: bool = False


@dataclass
class Business:
    """A business portfolio."""

    id: str
    name: str


@dataclass
class AdAccount:
    """id: digits without act_. status: 1 active, 2 disabled, 3 unsettled … as Meta numbers them."""

    id: str
    name: str
    currency: str
    zone: str
    business_id: str
    created_at: float
    status: int = 1


@dataclass
class AdObject:
    """A campaign, ad set or ad (`kind`). details: fields of that kind alone. It delivered on the days first … last."""

    kind: str
    id: str
    name: str
    account_id: str
    parent_id: str
    status: str
    created_at: float
    updated_at: float
    first_day: date
    last_day: date | None = None
    details: dict[str, Any] = field(default_factory=dict)


@dataclass
class Creative:
    """What an ad shows. post: <page>_<post>."""

    id: str
    name: str
    account_id: str
    post: str
    title: str
    body: str
    media_type: str = "image"


@dataclass
class Dataset:
    """A dataset, formerly pixel. waba_id: the WhatsApp business account it is linked to, None for a website's.

    checks_clicks: whether a click id must be one that was issued; datasets not tied to the ads were seen to take any.
    """

    id: str
    name: str
    business_id: str
    account_ids: list[str]
    waba_id: str | None = None
    checks_clicks: bool = True


@dataclass
class Waba:
    """A WhatsApp business account. subscribed: app id → override_callback_uri, or "" for the app's own."""

    id: str
    name: str
    business_id: str
    dataset_id: str | None = None
    subscribed: dict[str, str] = field(default_factory=dict)


@dataclass
class Number:
    """A business phone number on the Cloud API."""

    id: str
    waba_id: str
    phone: str
    display: str
    verified_name: str


@dataclass
class Token:
    """expires_at 0: never. trouble: a subcode of 190 once it has been broken."""

    value: str
    app_id: str
    person_id: str | None
    kind: str
    scopes: tuple[str, ...]
    issued_at: float
    expires_at: float
    data_access_expires_at: float
    trouble: int | None = None


@dataclass
class Code:
    """What the dialog hands to the redirect URI, good once and for ten minutes."""

    value: str
    app_id: str
    person_id: str
    redirect_uri: str
    scopes: tuple[str, ...]
    expires_at: float
    used: bool = False


@dataclass(frozen=True)
class Click:
    """A tap on an ad. clid: None in WhatsApp Status, where Meta gives none."""

    clid: str | None
    ad_id: str
    number_id: str
    wa_id: str
    at: float


@dataclass(frozen=True)
class Learned:
    """A conversion event Meta accepted. ad_id: the ad it was credited to, if any (7 days from the click)."""

    dataset_id: str
    event: dict[str, Any]
    received_at: float
    trace: str
    ad_id: str | None
    test_event_code: str | None
    partner_agent: str | None


@dataclass(frozen=True)
class Delivered:
    """What an ad delivered on a day of played months, once settled. spend: minor units.

    drift: by how many thousandths spend was still too low on the day itself; the rest of it comes within 28 days.
    """

    impressions: int
    clicks: int
    link_clicks: int
    conversations: int
    spend: int
    drift: int


@dataclass(frozen=True)
class Revision:
    """Figures that Meta changed afterwards: by `percent`, or gone when it is None."""

    object_id: str
    since: date
    until: date
    percent: int | None


@dataclass
class ReportRun:
    """An asynchronous insights report. ending: how it ends when it has been asked about so often."""

    id: str
    account_id: str
    created_at: float
    rows: list[dict[str, Any]]
    ending: str = "Job Completed"
    polls_left: int = 1


Node: TypeAlias = (
    App | Person | Business | AdAccount | AdObject | Creative | Dataset | Waba | Number | ReportRun
)
N = TypeVar("N", App, Person, Business, AdAccount, AdObject, Creative, Dataset, Waba, Number, ReportRun)


@dataclass
class EventRules:
    """How strict the events edge is, where reports of the real one differ.

    validate_clid: a click id must be one that was issued here; dedupe: an event of the same name and id within 48 hours is
    counted and kept once; require_value_for_purchase: a Purchase needs value and currency.
    """

    validate_clid: bool = True
    dedupe: bool = False
    require_value_for_purchase: bool = True


class World:
    """Everything, by id. `seed` and `clock` decide all that is made up."""

    def __init__(self, seed: int, clock: Clock) -> None:
        self.seed, self.clock = seed, clock
        self.nodes: dict[str, Node] = {}
        self.tokens: dict[str, Token] = {}
        self.codes: dict[str, Code] = {}
        self.grants: dict[tuple[str, str], dict[str, str]] = {}  # (app, person) → permission → status
        self.clicks: dict[str, Click] = {}  # by click id
        self.clicks_of_day: dict[tuple[str, date], int] = {}
        self.rules = EventRules()
        self.learned: list[Learned] = []
        self.learned_of_day: dict[tuple[str, date], list[Learned]] = {}
        self.revisions: list[Revision] = []
        self.played: dict[str, tuple[date, date]] = {}  # ad → the days whose figures are those in `delivered`
        self.delivered: dict[tuple[str, date], Delivered] = {}
        self.click_costs: dict[
            str, int
        ] = {}  # ad → what a further tap adds to its spend, where it is not the usual
        self.sent: list[dict[str, Any]] = []  # messages the business sent through the API
        self.pictures_at: str | None = None  # where pictures of ads are served; None: their links are dead
        self._children: dict[str, list[AdObject]] = {}
        self._serial = 0

    def add(self, node: N) -> N:
        """Put a node into the world."""
        self.nodes[node.id] = node
        if isinstance(node, AdObject):
            self._children.setdefault(node.parent_id, []).append(node)
        return node

    def all(self, kind: type[N]) -> Iterator[N]:
        """Every node of one kind, in the order they were made."""
        return (node for node in self.nodes.values() if isinstance(node, kind))

    def get(self, kind: type[N], node_id: str) -> N:
        """The node of this kind with this id; KeyError without it."""
        node = self.nodes[node_id]
        if not isinstance(node, kind):
            raise KeyError(node_id)
        return node

    def children(self, parent_id: str) -> list[AdObject]:
        """Campaigns of an account, ad sets of a campaign, ads of an ad set."""
        return self._children.get(parent_id, [])

    def below(self, object_id: str, kind: str) -> list[AdObject]:
        """All campaigns, ad sets or ads under an account or ad object; itself, when it is of that kind."""
        node = self.nodes.get(object_id)
        if isinstance(node, AdObject) and node.kind == kind:
            return [node]
        return [found for child in self.children(object_id) for found in self.below(child.id, kind)]

    def serial(self) -> int:
        """1, 2, 3 …: names what is issued one after the other."""
        self._serial += 1
        return self._serial

    def effective_status(self, node: AdObject) -> str:
        """A node's own status, unless something above it is off."""
        parent = self.nodes.get(node.parent_id)
        if node.status in HIDDEN or not isinstance(parent, AdObject):
            return node.status
        above = self.effective_status(parent)
        if above in HIDDEN:
            return above
        if node.status != "ACTIVE":
            return node.status
        if above == "PAUSED":
            return "CAMPAIGN_PAUSED" if parent.kind == CAMPAIGN else "ADSET_PAUSED"
        return above

    def record_click(self, click: Click, day: date) -> None:
        """Remember a tap: its id becomes one that events may name, and the ad's figures of that day grow."""
        if click.clid is not None:
            self.clicks[click.clid] = click
        self.clicks_of_day[click.ad_id, day] = self.clicks_of_day.get((click.ad_id, day), 0) + 1

    def record_event(self, learned: Learned, day: date | None) -> None:
        """Remember an event; one credited to an ad counts among that ad's actions of that day."""
        self.learned.append(learned)
        if learned.ad_id is not None and day is not None:
            self.learned_of_day.setdefault((learned.ad_id, day), []).append(learned)
