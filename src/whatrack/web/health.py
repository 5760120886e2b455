"""/healthz: the process lives. /readyz: it can commit a delivery. /metrics: the rest."""

import asyncio
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from psycopg import Error
from psycopg_pool import PoolTimeout

from whatrack.db import Database
from whatrack.inbox import days, exceptions, store
from whatrack.observe import PARTITION_DAYS, QUEUE_LAG

router = APIRouter(tags=["health"])
MAX_LAG_S = 60.0
ANSWER_WITHIN_S = 3.0  # a database that needs longer is no good for intake either


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """Alive."""
    return {"status": "ok"}


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", responses={503: {"description": "It cannot; `status` says why."}})
async def readyz(request: Request, response: Response, check: Literal["", "drain"] = "") -> dict[str, Any]:
    """200 while this process can commit a delivery; with ?check=drain also only while the drain keeps up."""
    db: Database = request.app.state.db
    settings = request.app.state.settings
    body: dict[str, Any] = {"status": "ok"}
    try:
        async with asyncio.timeout(ANSWER_WITHIN_S), db.installation() as conn:
            await store.prove_commit(conn)
            body["partition_days_ahead"] = await days.days_ahead(conn)
            body["drain_lag_seconds"] = round(await store.lag_seconds(conn), 3)
            body["exceptions_leaving_soon"] = (await exceptions.leaving(conn, settings.exception_days)).soon
    except (Error, PoolTimeout, OSError):
        response.status_code = 503
        return {"status": "the database takes no commit"}
    PARTITION_DAYS.set(body["partition_days_ahead"])
    QUEUE_LAG.set(body["drain_lag_seconds"])
    if body["partition_days_ahead"] < days.MIN_DAYS_AHEAD:
        body["status"] = "delivery partitions are missing: run `whatrack work`, or start this again"
    elif check == "drain" and body["drain_lag_seconds"] > MAX_LAG_S:
        body["status"] = "the drain is behind: run more `whatrack work`"
    if body["status"] != "ok":
        response.status_code = 503
    return body


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics() -> Response:
    """Prometheus text."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
