"""/healthz, /readyz and /metrics: red exactly when this process cannot commit a delivery, or, when asked, lags behind."""

import re
from datetime import UTC, datetime, timedelta

import aiohttp
from psycopg.conninfo import make_conninfo

from tests.conftest import planted_in, settings_for_tests
from tests.support import APP_SECRET, PHONE, SEALER, ad, body, change, make_shop, message
from tests.test_api_errors import running
from tests.test_api_tickets import Api
from tests.test_api_tickets import web as web  # a fixture
from whatrack.db import Database
from whatrack.inbox import days, intake
from whatrack.inbox.signature import sign
from whatrack.web.app import Service, build_app

READY = {"status": "ok", "partition_days_ahead": 14, "drain_lag_seconds": 0.0, "exceptions_leaving_soon": 0}


async def test_a_healthy_service_is_alive_and_ready_without_a_key(web: aiohttp.ClientSession):
    stranger = Api(web, None)

    alive, ready, strict = [
        await stranger.get(path) for path in ("/healthz", "/readyz", "/readyz?check=drain")
    ]

    assert (alive.status, alive.json) == (200, {"status": "ok"})
    assert (ready.status, ready.json) == (200, READY)
    assert (strict.status, strict.json) == (200, READY)


async def test_a_check_that_does_not_exist_is_not_green(web: aiohttp.ClientSession):
    answer = await Api(web, None).get("/readyz?check=drian")

    assert (answer.status, answer.json["code"]) == (422, "bad_value")


async def test_a_drain_that_lags_turns_only_the_strict_check_red(db: Database):
    async with db.installation() as conn:
        await conn.execute(
            """INSERT INTO delivery_queue (partition, id, route, day, bytes, queued_at)
               VALUES (7, 1, '1', current_date, 1, now() - interval '2 minutes')"""
        )
    async with running(Service(settings_for_tests(), db, SEALER, with_workers=False)) as session:
        stranger = Api(session, None)
        ready, strict = await stranger.get("/readyz"), await stranger.get("/readyz", check="drain")
        metrics = (await stranger.get("/metrics")).raw.decode()

    assert (ready.status, strict.status) == (200, 503)
    assert 119 < ready.json["drain_lag_seconds"] < 240
    assert "drain" in strict.json["status"]
    lag = re.search(r"^whatrack_queue_lag_seconds (\S+)$", metrics, re.MULTILINE)
    assert lag
    assert 119 < float(lag[1]) < 240


async def test_readiness_is_red_with_less_than_three_days_of_partitions(db: Database):
    gone = [datetime.now(UTC).date() + timedelta(days=ahead) for ahead in range(3, days.DAYS_AHEAD + 1)]
    async with db.system() as conn:
        for day in gone:
            await conn.execute(f"DROP TABLE webhook_deliveries_{day:%Y%m%d}".encode())
    async with running(build_app(settings_for_tests(), db, SEALER, None)) as session:
        red = await Api(session, None).get("/readyz")
        await days.ensure_days(db)
        green = await Api(session, None).get("/readyz")

    assert (red.status, red.json["partition_days_ahead"]) == (503, 2)
    assert "partition" in red.json["status"]
    assert (green.status, green.json) == (200, READY)


async def test_a_database_that_takes_no_writes_is_not_ready(db: Database, conninfo: str):
    database = Database(make_conninfo(conninfo, options="-c default_transaction_read_only=on"))
    await database.open()
    async with running(build_app(settings_for_tests(), database, SEALER, None)) as session:
        ready, alive = await Api(session, None).get("/readyz"), await Api(session, None).get("/healthz")
    await database.close()

    assert (ready.status, alive.status) == (503, 200)


async def test_the_metrics_count_what_came_and_name_nobody(web: aiohttp.ClientSession, db: Database):
    shop = await make_shop(db)
    stranger = Api(web, None)
    delivery = body(change(shop.number, message(referral=ad())))
    signed = {"X-Hub-Signature-256": sign(delivery, APP_SECRET.encode())}

    def counted(text: str, series: str) -> float:
        found = re.search(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    before = (await stranger.get("/metrics")).raw.decode()
    await stranger("POST", intake.PATH, data=delivery, headers=signed)
    await stranger("POST", intake.PATH, data=delivery)
    answer = await stranger.get("/metrics")
    after = answer.raw.decode()

    assert answer.headers["content-type"].startswith("text/plain")
    for series in (
        'whatrack_intake_answers_total{reason="stored",status="200"}',
        'whatrack_intake_answers_total{reason="signature_missing",status="401"}',
    ):
        assert counted(after, series) == counted(before, series) + 1
    for name in (
        "intake_seconds_bucket",
        "drain_deliveries_total",
        "queue_rows",
        "delivery_exceptions",
        "delivery_partition_days",
    ):
        assert f"whatrack_{name}" in after
    assert planted_in(after) == []
    assert shop.number not in after
    assert PHONE not in after


async def test_a_head_request_asks_the_same_without_the_body(service: str):
    async with aiohttp.ClientSession(service) as session:
        for path in ("/healthz", "/readyz"):
            async with session.head(path) as answer:
                assert (answer.status, await answer.read()) == (200, b"")
