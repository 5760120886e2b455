"""/api/v1/meta-ads: the profiles that are connected, the ad accounts they see, and what is decided about each account."""

import base64
import binascii
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field, model_validator

from whatrack import db as database
from whatrack import flow_connections
from whatrack.connections import ad_accounts, config, datasets, profiles, tokens
from whatrack.connections.ad_accounts import AdAccount, Search
from whatrack.connections.profiles import Leaver, Profile
from whatrack.connections.refusals import answered
from whatrack.connections.tokens import Overview
from whatrack.errors import Refused, bad_value
from whatrack.meta.ids import bare_account
from whatrack.meta.signed_request import read_signed_request
from whatrack.tenants.access import Access
from whatrack.web.api.caller import Db, Member
from whatrack.web.connect import Desk, deletion_address
from whatrack.web.problems import OF_CHANGE, OF_EVERY, OF_ONE, UNSIGNED
from whatrack.web.state import TheGraph, TheKeys, TheSettings

router = APIRouter(prefix="/api/v1/meta-ads", tags=["meta-ads"], responses=OF_EVERY)
from_meta = APIRouter(prefix="/api/v1/meta-ads", tags=["meta-ads"])
STATUSES = {
    1: "ACTIVE",
    2: "DISABLED",
    3: "UNSETTLED",
    7: "PENDING_RISK_REVIEW",
    8: "PENDING_SETTLEMENT",
    9: "IN_GRACE_PERIOD",
    100: "PENDING_CLOSURE",
    101: "CLOSED",
    201: "ANY_ACTIVE",
    202: "ANY_CLOSED",
}

Text = Annotated[str, Field(pattern=r"^[^\x00]*$", max_length=200)]
Secret = Annotated[str, Field(pattern=r"^[^\x00]+$", max_length=4000)]


class Connection(BaseModel):
    """A connected profile. Its token is in no answer. days_left: until calls fail; null: never."""

    id: UUID
    fb_user_id: str
    fb_user_name: str
    token_kind: str
    status: str
    status_reason: str | None
    token_expires_at: datetime | None
    data_access_expires_at: datetime | None
    days_left: int | None
    scopes: list[str]
    declined: list[str]
    ad_accounts: int
    listed_at: datetime | None
    list_error: str | None
    checked_at: datetime
    created_at: datetime
    updated_at: datetime


class ConnectionPage(BaseModel):
    """All profiles, by name."""

    data: list[Connection]
    next: str | None


class NewConnection(BaseModel):
    """The answer of a login dialog (code and state), or a pasted token of a person or system user."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)
    code: Secret | None = Field(None, repr=False)
    state: Secret | None = Field(None, repr=False)
    access_token: Secret | None = Field(None, repr=False)

    @model_validator(mode="after")
    def _one_way(self) -> "NewConnection":
        if (self.code is None) != (self.state is None) or (self.code is None) == (self.access_token is None):
            raise ValueError("give code and state, or access_token")
        return self


class SeenBy(BaseModel):
    """A profile that sees the account."""

    id: UUID
    fb_user_name: str
    status: str


class AccountRoute(BaseModel):
    """Where conversions of this account's ads go, for one WhatsApp account. missing: codes; [] when all is there."""

    waba_id: str | None
    dataset_id: str | None
    source: str | None
    token_of: str | None
    missing: list[str]


class Account(BaseModel):
    """An ad account, however many profiles see it. account_status: in Meta's words."""

    id: UUID
    ad_account_id: str
    meta_account_id: str
    ad_account_name: str
    account_status: str
    business_name: str | None
    currency: str
    timezone_name: str
    connection_id: UUID | None
    connections: list[SeenBy]
    pixel_id: str | None
    pixel_name: str | None
    is_active: bool
    routes: list[AccountRoute]
    version: int
    seen_at: datetime
    updated_at: datetime


class AccountPage(BaseModel):
    """A page by name. listed_at: age of the oldest profile's list; stale: profiles that could not be read, and why."""

    data: list[Account]
    next: str | None
    listed_at: datetime | None
    stale: dict[str, str]


class Filters(BaseModel):
    """The list's filters; an unknown one is refused rather than ignored."""

    model_config = ConfigDict(extra="forbid")
    text: Text | None = Field(None, description="part of the name, or a beginning of the id")
    active: bool | None = None
    connection: UUID | None = None
    refresh: bool = Field(False, description="read the lists from Meta first (admins)")
    cursor: Annotated[str, Field(max_length=3000)] | None = None  # it holds a name, of 500 characters at most
    limit: Annotated[int, Field(ge=1, le=200)] = 50


class DatasetEntry(BaseModel):
    """A dataset to choose. is_linked: to a WhatsApp account of the organization; waba_id: whose own it is."""

    id: str
    name: str
    is_linked: bool
    waba_id: str | None


class DatasetPage(BaseModel):
    """The datasets of an account, the WhatsApp accounts' own first."""

    data: list[DatasetEntry]
    next: str | None


class Config(BaseModel):
    """What to decide. pixel_id: left out, it stays; null, the WhatsApp account's own. version: as last read."""

    model_config = ConfigDict(extra="forbid")
    is_active: bool
    pixel_id: Annotated[str, Field(max_length=64)] | None = None
    confirm_unlinked: bool = Field(
        False, description="use a dataset that is not linked to the WhatsApp account"
    )
    version: int | None = None


class Done(BaseModel):
    """Taken note of."""

    success: bool = True


class Deletion(BaseModel):
    """Where the person sees that their data is gone."""

    url: str
    confirmation_code: str


@router.get("/connections", response_model=ConnectionPage)
async def list_connections(db: Db, who: Member) -> dict[str, Any]:
    """The connected profiles."""
    async with db.tenant(who.organization_id) as conn:
        found = await profiles.everyone(conn, who.organization_id)
        now = await database.now(conn)
    return {"data": [connection(each, now) for each in found], "next": None}


@router.post("/connections", response_model=Connection, responses=OF_CHANGE)
async def add_connection(request: Request, db: Db, who: Member, new: NewConnection) -> dict[str, Any]:
    """Connect a profile, or renew it when its person is connected already."""
    desk = Desk(request, who)
    if new.access_token is not None:
        found = await desk.by_token(new.access_token)
    else:
        found = await desk.by_code(new.code or "", new.state or "")
    async with db.tenant(who.organization_id) as conn:
        return connection(found, await database.now(conn))


@router.delete("/connections/{connection_id}", status_code=204, responses=OF_ONE)
async def remove_connection(db: Db, who: Member, connection_id: UUID) -> None:
    """Disconnect a profile; the accounts' settings stay."""
    async with db.tenant(who.organization_id) as conn:
        await profiles.remove(conn, who, connection_id)


@router.get("/ad-accounts", response_model=AccountPage)
async def list_accounts(
    request: Request, db: Db, who: Member, filters: Annotated[Filters, Query()]
) -> dict[str, Any]:
    """The ad accounts of all profiles. Old lists are read anew first; when Meta does not answer, what is known is told."""
    if filters.refresh:
        who.require("admin")
    await Desk(request, who).refresh(only_due=not filters.refresh)
    search = Search(
        text=filters.text, active=filters.active, profile=filters.connection, after=_cursor(filters.cursor), limit=filters.limit + 1
    )  # fmt: skip
    async with db.tenant(who.organization_id) as conn:
        found = await ad_accounts.page(conn, who.organization_id, search)
        overview = await tokens.overview(conn, who.organization_id, found[: filters.limit])
    shown = found[: filters.limit]
    following = cursor_of(shown[-1]) if len(found) > filters.limit else None
    return {
        "data": [account(each, overview) for each in shown],
        "next": following,
        "listed_at": overview.listed_at,
        "stale": {str(each.id): each.list_error for each in overview.profiles if each.list_error},
    }


@router.get("/ad-accounts/{account_id}", response_model=Account, responses=OF_ONE)
async def read_account(db: Db, who: Member, account_id: str) -> dict[str, Any]:
    """One account: by our id, `act_…`, or its digits."""
    return await _account(db, who, account_id)


@router.get("/ad-accounts/{account_id}/datasets", response_model=DatasetPage, responses=OF_ONE)
async def list_datasets(
    db: Db, graph: TheGraph, keys: TheKeys, who: Member, account_id: str
) -> dict[str, Any]:
    """The datasets that an account's conversions may go to, as Meta tells now."""
    async with db.tenant(who.organization_id) as conn:
        found = await ad_accounts.one(conn, who.organization_id, account_id)
        facts = await tokens.facts(conn, who.organization_id)
    async with answered():
        listed = await datasets.of_account(db, graph, keys, found, facts)
    return {"data": [msgspec.structs.asdict(each) for each in listed], "next": None}


@router.put("/ad-accounts/{account_id}/config", response_model=Account, responses={**OF_ONE, **OF_CHANGE})
async def configure_account(
    db: Db, graph: TheGraph, keys: TheKeys, who: Member, account_id: str, wanted: Config
) -> dict[str, Any]:
    """Turn an account on or off and choose its dataset. 409 `account_stale` when `version` is no longer the account's."""
    asked = config.Change(
        is_active=wanted.is_active,
        pixel_id=wanted.pixel_id or None,
        keep_pixel="pixel_id" not in wanted.model_fields_set,
        confirmed=wanted.confirm_unlinked,
        version=wanted.version,
    )
    await flow_connections.account_update(db, graph, keys, who, account_id, asked)
    return await _account(db, who, account_id)


@from_meta.post("/deauthorize", response_model=Done, responses=UNSIGNED)
async def deauthorize(request: Request, db: Db, settings: TheSettings) -> Done:
    """Meta says that a person removed the app: their tokens are used no more. Signed with META_APP_SECRET."""
    await flow_connections.person_left(db, await _leaver(request, settings))
    return Done()


@from_meta.post("/data-deletion", response_model=Deletion, responses=UNSIGNED)
async def delete_data(request: Request, db: Db, settings: TheSettings) -> Deletion:
    """Meta says that a person wants their data deleted: their profiles go at once. Signed with META_APP_SECRET."""
    code = await flow_connections.forget_person(db, await _leaver(request, settings))
    return Deletion(url=deletion_address(settings, code), confirmation_code=code)


async def _leaver(request: Request, settings: TheSettings) -> Leaver:
    """Whom the request that our app signed is about; 400 for everything else."""
    async with request.form(max_files=0, max_fields=10, max_part_size=20_000) as sent:
        text = sent.get("signed_request")
    secret = settings.meta_app_secret
    found = read_signed_request(text, secret.get_secret_value()) if secret and isinstance(text, str) else None
    if found is None:
        raise Refused("bad_signature", "signed_request is missing, or another app signed it.", status=400)
    return Leaver(found.user_id, settings.meta_app_id or "", found.issued_at or None)


async def _account(db: Db, who: Access, account_id: str) -> dict[str, Any]:
    async with db.tenant(who.organization_id) as conn:
        found = await ad_accounts.one(conn, who.organization_id, account_id)
        return account(found, await tokens.overview(conn, who.organization_id, [found]))


def connection(profile: Profile, now: datetime) -> dict[str, Any]:
    """A profile as the API tells it."""
    told = {name: getattr(profile, name, None) for name in Connection.model_fields}
    return {**told, "days_left": profile.days_left(now), "ad_accounts": profile.accounts}


def account(found: AdAccount, overview: Overview) -> dict[str, Any]:
    """An account as the API tells it."""
    told = {name: getattr(found, name, None) for name in Account.model_fields}
    return {
        **told,
        "meta_account_id": bare_account(found.ad_account_id),
        "account_status": STATUSES.get(found.account_status, f"UNKNOWN_{found.account_status}"),
        "connections": overview.seen_by(found),
        "routes": [
            {
                "waba_id": each.waba_id,
                "dataset_id": each.dataset_id,
                "source": each.source,
                "token_of": each.tokens[0].kind if each.tokens else None,
                "missing": each.missing,
            }
            for each in overview.routes(found)
        ],
    }


def cursor_of(last: AdAccount) -> str:
    """Where the page after this account begins."""
    text = f"{last.id}{last.ad_account_name}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _cursor(text: str | None) -> tuple[str, UUID] | None:
    return read_cursor(text) if text else None


def read_cursor(text: str) -> tuple[str, UUID]:
    """The last account of the page before; 422 for what no page ever gave."""
    try:
        found = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
        last = found[36:], UUID(found[:36])
    except (ValueError, binascii.Error):
        last = None
    if last is None or "\0" in last[0]:
        raise bad_value("cursor", "This cursor is not one of ours.")
    return last
