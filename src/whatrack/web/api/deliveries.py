"""/api/v1/deliveries, for operators: what waits, failed or is quarantined, and replay."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from whatrack.inbox import replay, store
from whatrack.web.api.caller import Db, TheOperator
from whatrack.web.problems import OF_EVERY

router = APIRouter(prefix="/api/v1/deliveries", tags=["deliveries"], responses=OF_EVERY)
MAX_ID = 2**63 - 1
CURSOR = r"^[0-9]{1,19}\.[0-9a-z:]{0,80}$"  # the last row's id and route: one delivery may have several


class Delivery(BaseModel):
    """One part of a delivery (route: a number, a WABA, or '' for the whole body) that is not done."""

    id: int
    route: str
    state: str
    reason: str
    detail: str
    attempts: int
    received_at: datetime
    first_at: datetime
    last_at: datetime
    bytes: int


class StateCounts(BaseModel):
    """How many are in each state; done since the installation began."""

    pending: int
    done: int
    failed: int
    quarantined: int


class DeliveryPage(BaseModel):
    """A page, newest first, with the counts of all states."""

    data: list[Delivery]
    next: str | None
    counts: StateCounts


class Replay(BaseModel):
    """Which to process again: exactly one of ids, a range of arrival, or a state."""

    model_config = ConfigDict(extra="forbid")
    ids: (
        Annotated[list[Annotated[int, Field(ge=1, le=MAX_ID)]], Field(min_length=1, max_length=10_000)] | None
    ) = None
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    state: Literal["failed", "quarantined"] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> "Replay":
        ways = (
            self.ids is not None,
            self.since is not None or self.until is not None,
            self.state is not None,
        )
        if sum(ways) != 1:
            raise ValueError("name exactly one of: ids, since and until, state")
        if (self.since is None) != (self.until is None):
            raise ValueError("a range needs both since and until")
        if self.since and self.until and self.since >= self.until:
            raise ValueError("since must come before until")
        return self


class Queued(BaseModel):
    """How many queue rows the replay made. Work already waiting is not queued twice."""

    queued: int


@router.get("", response_model=DeliveryPage)
async def list_deliveries(
    db: Db,
    _who: TheOperator,
    state: Literal["pending", "failed", "quarantined"] = "failed",
    cursor: Annotated[str, Query(pattern=CURSOR)] = f"{MAX_ID}.",
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> dict[str, object]:
    """Deliveries in one state, newest first."""
    async with db.installation() as conn:
        delivery_id, _, route = cursor.partition(".")
        rows = await store.list_states(conn, state, (min(int(delivery_id), MAX_ID), route), limit)
        counts = await store.counts(conn)
    following = f"{rows[-1].id}.{rows[-1].route}" if len(rows) == limit else None
    return {"data": rows, "next": following, "counts": counts}


@router.post("/replay", response_model=Queued, status_code=202)
async def replay_deliveries(db: Db, _who: TheOperator, wanted: Replay) -> Queued:
    """Process deliveries again. Safe at any time: the same tickets come out."""
    async with db.installation() as conn:
        match wanted:
            case Replay(ids=list(ids)):
                return Queued(queued=await replay.replay_ids(conn, ids))
            case Replay(since=datetime() as since, until=datetime() as until):
                return Queued(queued=await replay.replay_range(conn, since, until))
            case _:
                return Queued(queued=await replay.replay_state(conn, wanted.state or "failed"))
