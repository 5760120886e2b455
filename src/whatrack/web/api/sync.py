"""/api/v1/meta-ads/sync: asking for fresh figures of what ads spent, and how far fetching them is."""

from datetime import date, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from whatrack.insights import progress, wishes
from whatrack.insights.progress import AccountProgress, Progress
from whatrack.web.api.caller import Db, Member
from whatrack.web.problems import OF_CHANGE, OF_EVERY, OF_ONE, TOO_SOON
from whatrack.web.state import ThePoke
from whatrack.workers import SPEND

router = APIRouter(prefix="/api/v1/meta-ads/sync", tags=["meta-ads"], responses=OF_EVERY)


class Wish(BaseModel):
    """What to fetch now. account: our id, `act_…` or digits; left out, every account that is on."""

    model_config = ConfigDict(extra="forbid")
    account: Annotated[str, Field(pattern=r"^[^\x00]+$", max_length=64)] | None = None
    days: int = Field(
        wishes.USUAL_DAYS, ge=1, le=wishes.MOST_DAYS, description="how many days back from today"
    )


class AccountSync(BaseModel):
    """How far fetching one ad account is. Days are of its zone.

    due: to be fetched now; missing: never fetched yet; early: over, and last fetched while they lasted; aside: came with a row that
    cannot be read, to be tried again later while the others go on. fetched_at: when the request began that last brought a day, be it
    one that still lasts; whole_at: when the last try ended that left nothing due and nothing set aside, which reports call the
    account's `fetched_at`. message: what Meta said, or which row or profile it is about.
    """

    account_id: UUID
    ad_account_id: str
    name: str
    zone: str
    is_active: bool
    is_running: bool
    since: date | None
    days: int
    fetched: int
    due: int
    missing: int
    early: int
    aside: int
    fetched_at: datetime | None
    whole_at: datetime | None
    next_at: datetime | None
    reason: str | None
    message: str | None


class Sync(BaseModel):
    """How far fetching is. reasons: how many accounts wait behind each."""

    running: int
    days_due: int
    days_fetched: int
    days_failed: int
    reasons: dict[str, int]
    accounts: list[AccountSync]


class Begun(BaseModel):
    """What becomes of a wish, in accounts.

    asked: fetched at once because of it; under_way: being fetched, or about to be; throttled: Meta wants us to wait; recent: wished
    for within a minute for as many days, and so left alone. added_days: account-days that are due because of it and were not
    before, those of accounts under way and throttled ones included.
    """

    asked: int
    under_way: int
    throttled: int
    recent: int
    added_days: int
    progress: Sync


@router.post("", status_code=202, response_model=Begun, responses={**OF_ONE, **OF_CHANGE, **TOO_SOON})
async def begin_sync(db: Db, poke: ThePoke, who: Member, wish: Wish | None = None) -> dict[str, Any]:
    """Fetch the last days now. Asking twice fetches once, asking for more days adds them to what is under way.

    429 `sync_too_soon` when as much was asked for of every account within a minute.
    """
    wish = wish or Wish()
    async with db.tenant(who.organization_id) as conn:
        asked = await wishes.ask(conn, who, wish.account, wish.days)
        found = await progress.progress(conn, who.organization_id)
    poke(SPEND)
    told = {name: getattr(asked, name) for name in wishes.Asked.__struct_fields__}
    return {**told, "progress": sync(found)}


@router.get("", response_model=Sync)
async def read_sync(db: Db, who: Member) -> dict[str, Any]:
    """How far fetching is, account by account."""
    async with db.tenant(who.organization_id) as conn:
        return sync(await progress.progress(conn, who.organization_id))


def sync(found: Progress) -> dict[str, Any]:
    """Progress as the API tells it."""
    names = ("running", "days_due", "days_fetched", "days_failed", "reasons")
    return {
        **{name: getattr(found, name) for name in names},
        "accounts": [_account(each) for each in found.accounts],
    }


def _account(found: AccountProgress) -> dict[str, Any]:
    return {name: getattr(found, name) for name in AccountSync.model_fields}
