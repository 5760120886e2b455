"""What the logs say and what they keep to themselves: no secret, phone number, message text or query string."""

import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
import psycopg
import pytest
import structlog

from tests.conftest import planted_in, settings_for_tests, told_by_ourselves
from tests.support import (
    APP_SECRET,
    PHONE,
    SEALER,
    TEXT,
    VERIFY_TOKEN,
    body,
    change,
    make_shop,
    message,
    published,
)
from tests.test_api_errors import running
from tests.test_api_tickets import TICKETS, Api, api_of
from tests.test_api_tickets import web as web  # a fixture
from whatrack.db import Connection, Database
from whatrack.errors import ConfigError
from whatrack.inbox import intake
from whatrack.inbox.signature import sign
from whatrack.observe import WITHHELD, describe, logger
from whatrack.web.app import build_app

# Each statement fails with a text of PostgreSQL's that quotes the value.
QUOTING = {
    "23505": (f"INSERT INTO number_routes SELECT '{PHONE}', '1', o.id, 0 FROM organizations o, generate_series(1, 2)", "number_routes_pkey"),
    "23514": (f"INSERT INTO delivery_exceptions VALUES (1, '{PHONE}', 'lost', '{TEXT}', '', 1, now(), now(), now(), now(), '')",
              "delivery_exceptions_state_check"),
    "23502": (f"INSERT INTO delivery_exceptions VALUES (1, '{PHONE}', 'failed', '{TEXT}', '', 1, now(), now(), now(), now(), NULL)", None),
    "22P02": (f"SELECT '{PHONE} {TEXT}'::uuid", None),
    "22007": (f"SELECT '{TEXT}'::timestamptz", None),
    "42703": (f'SELECT "{TEXT}" FROM organizations', None),
}  # fmt: skip


@pytest.fixture
def lines() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """What was logged until now, beside the suite's log, in its format."""
    stream, root = io.StringIO(), logging.getLogger()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_format())
    root.addHandler(handler)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.removeHandler(handler)
    assert planted_in(stream.getvalue()) == []


def _format() -> logging.Formatter:
    formatters = [handler.formatter for handler in logging.getLogger().handlers]
    (ours,) = [each for each in formatters if isinstance(each, structlog.stdlib.ProcessorFormatter)]
    return ours


@pytest.mark.parametrize(
    "said", [APP_SECRET, VERIFY_TOKEN, PHONE, PHONE[-8:], TEXT, TEXT.upper(), "16505551234"]
)
def test_the_suites_check_finds_what_was_planted_however_it_was_logged(said: str):
    stream = io.StringIO()
    handler, apart = logging.StreamHandler(stream), logging.getLogger("planted")
    handler.setFormatter(_format())
    apart.propagate = False  # or the suite's own log would hold it
    apart.addHandler(handler)

    apart.info("before %s after", said)
    in_text = planted_in(stream.getvalue())
    structlog.stdlib.get_logger("planted").info("event", field={"deep": [said]})
    apart.removeHandler(handler)

    assert in_text
    assert planted_in(stream.getvalue().splitlines()[1])
    assert planted_in('{"event": "nothing of it"}') == []


async def test_what_postgresql_says_of_a_value_is_not_logged_but_what_happened_is(
    db: Database, lines: Callable[[], list[dict[str, Any]]]
):
    await make_shop(db)
    for statement, _ in QUOTING.values():
        with pytest.raises(psycopg.Error) as failed:
            async with db.system() as conn:
                await _run_and_tell(conn, statement)
        assert planted_in(str(failed.value))  # so there was something to keep quiet about

    found = lines()
    assert [line["event"] for line in found] == ["by_structlog", "by_logging", "by_hand", "as_cause"] * len(
        QUOTING
    )
    for place, (sqlstate, (_, constraint)) in enumerate(QUOTING.items()):
        told = [line["error"] for line in found[4 * place : 4 * place + 4]]
        assert told[3]["type"] == "builtins.RuntimeError"
        for each in (*told[:3], told[3]["cause"]):
            assert (each["sqlstate"], each["constraint"]) == (sqlstate, constraint)
            assert each["type"].startswith("psycopg.errors.")
            assert any(at.startswith("test_logs.py:") for at in each["at"])


async def _run_and_tell(conn: Connection, statement: str) -> None:
    try:
        await conn.execute(statement.encode())
    except psycopg.Error as error:
        logger("whatrack.test").exception("by_structlog")
        logging.getLogger("some.package").exception("by_logging")
        logger("whatrack.test").warning("by_hand", exc_info=error)
        wrapper = RuntimeError(TEXT)
        wrapper.__cause__ = error
        logger("whatrack.test").error("as_cause", exc_info=wrapper)
        raise


def test_an_exception_made_for_people_is_logged_with_its_words_and_any_other_without():
    ours, other = ConfigError("WHATRACK_DATA_DIR is malformed"), ValueError(TEXT)
    other.__context__ = KeyError(PHONE)

    assert describe(ours)["message"] == "WHATRACK_DATA_DIR is malformed"
    assert "message" not in describe(other)
    assert describe(other)["cause"]["type"] == "builtins.KeyError"
    assert planted_in(json.dumps(describe(other))) == []


async def test_a_bug_in_a_request_is_logged_by_where_it_was_never_by_its_values(
    db: Database, lines: Callable[[], list[dict[str, Any]]]
):
    api = build_app(settings_for_tests(), db, SEALER, None)

    @api.get("/bug/{phone}")
    async def bug(phone: str, text: str) -> None:
        async with db.system() as conn:
            await conn.execute("SELECT %s::text::uuid", [phone + text])

    async with running(api) as session:
        answer = await Api(session, None).get(f"/bug/{PHONE}", text=TEXT)

    assert answer.status == 500
    (failed,) = [line for line in lines() if line["event"] == "request_failed"]
    assert (failed["level"], failed["logger"]) == ("error", "whatrack.web.problems")
    assert failed["error"]["type"] == "psycopg.errors.InvalidTextRepresentation"
    assert any(at.startswith("test_logs.py:") and at.endswith(" bug") for at in failed["error"]["at"])
    assert all(set(line) >= {"event", "level", "logger", "timestamp"} for line in lines())


async def test_a_whole_day_of_work_logs_nobodys_number_words_or_token(
    web: aiohttp.ClientSession, db: Database, lines: Callable[[], list[dict[str, Any]]]
):
    shop = await make_shop(db)
    api = await api_of(web, db, shop)
    hub = {"hub.mode": "subscribe", "hub.verify_token": VERIFY_TOKEN, "hub.challenge": PHONE}
    bodies = (published("docs_messages_text__click_to_whatsapp_ad", shop.number), body(change(shop.number, message())),
              body(change("404404", message())), f"{PHONE} {TEXT}".encode(), json.dumps({"entry": [TEXT]}).encode())  # fmt: skip

    assert (await api("GET", intake.PATH, params=hub)).raw == PHONE.encode()
    for each in bodies:
        for secret in (APP_SECRET, "another"):
            await api(
                "POST", intake.PATH, data=each, headers={"X-Hub-Signature-256": sign(each, secret.encode())}
            )
    await api.get(text=PHONE, campaign=TEXT)
    await api.post(PHONE, name=TEXT)
    await api.patch(str((await api.post(PHONE)).status), stage=TEXT)
    await api("POST", TICKETS, data=TEXT.encode())
    await Api(web, APP_SECRET).get()
    await Api(web, VERIFY_TOKEN)("GET", f"/nowhere/{PHONE}", params=hub)

    written = json.dumps(lines())
    assert planted_in(written) == []
    assert "hub." not in written
    assert "Bearer" not in written


TOKEN = "EAA" + "Zx9" * 30


@pytest.mark.parametrize(
    "said",
    [
        f'https://graph.facebook.com:443 "GET /v26.0/me?access_token={TOKEN}&fields=name HTTP/1.1" 400 174',
        "GET /v26.0/me?access_token=123456%7CTheAppSecretItself&fields=name",
        "GET /v26.0/debug_token?input_token=OtherKindOfToken1234&fields=name",
        "GET /oauth?client_secret=abcdef0123456789&fb_exchange_token=abcdef0123456789&fields=name",
        "GET /me?appsecret_proof=0123456789abcdef0123456789abcdef&fields=name",
        "url=%2Fme%3Faccess_token%3Dabcdef0123456789%26fields=name",
        str({"access_token": "abcdef0123456789", "fields": "=name"}),
        json.dumps({"access_token": "abcdef0123456789", "fields": "=name"}),
        "headers: Authorization: Bearer abcdef.0123456789 fields=name",
    ],
)
def test_no_librarys_line_tells_a_token_however_it_travels(
    lines: Callable[[], list[dict[str, Any]]], said: str
):
    logging.getLogger("urllib3.connectionpool").debug("%s", said)
    logger("another.package").info("event", field={"deep": [said]})

    told = [json.dumps(each) for each in lines()]
    for line in told:
        assert not [each for each in (TOKEN, "abcdef", "TheAppSecret", "OtherKind", "0123") if each in line]
        assert WITHHELD in line
        assert "name" in line
    assert len(told) == 2


def test_a_secret_that_had_to_be_cut_from_a_line_of_our_own_fails_the_suite():
    ours, another = (
        f'{{"event": "{WITHHELD}", "logger": "{name}"}}' for name in ("whatrack.meta", "urllib3")
    )

    assert told_by_ourselves(f"{another}\n{ours}\n") == [ours]


def test_libraries_tell_no_query_string_no_password_and_no_traceback(
    lines: Callable[[], list[dict[str, Any]]],
):
    logging.getLogger("uvicorn.error").error(
        "Traceback (most recent call last):\n  File x\nValueError: %s\n", PHONE
    )
    for name in ("uvicorn.access", "psycopg.pool", "asyncio"):
        logging.getLogger(name).error('127.0.0.1 - "GET /x?hub.verify_token=%s"', VERIFY_TOKEN)
    logger("whatrack.test").info("said", count=1)

    cut, line = lines()
    assert (cut["event"], cut["level"]) == ("(traceback withheld)", "error")
    assert (line["event"], line["count"], line["level"], line["logger"]) == (
        "said",
        1,
        "info",
        "whatrack.test",
    )
    assert line["timestamp"].endswith("Z")
