"""`whatrack user`, `api-key`, `org list`, `number list`, and the set-up link of a first start: in real processes."""

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.pages_support import get, log_in, send
from tests.support import PASSWORD, make_person, make_shop, rows, stranger
from tests.test_cli import SECRETS, Commands, Ended, Running, free_port, ready, url_of
from whatrack.db import Database
from whatrack.errors import Unauthorized
from whatrack.tenants import api_keys
from whatrack.tenants.access import Access

pytestmark = pytest.mark.xdist_group("people-cli")

EMAIL = "ana@example.com"


@pytest.fixture(scope="module")
def whatrack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    commands = Commands(tmp_path_factory.mktemp("commands"))
    yield commands
    commands.close()


@pytest.fixture
def where(conninfo: str) -> dict[str, str]:
    return {"DATABASE_URL": url_of(conninfo), "WHATRACK_PASSWORD_MEMORY_KIB": "1024", **SECRETS}


def typed(text: str, whatrack: Commands, *arguments: str, **where: str) -> Ended:
    """A command that reads its stdin."""
    (whatrack.folder / "stdin").write_text(text, encoding="utf-8")
    whatrack.stdin = str(whatrack.folder / "stdin")
    try:
        return whatrack(*arguments, **where)
    finally:
        whatrack.stdin = "/dev/null"


async def test_a_person_is_made_with_a_password_from_stdin_and_signs_in(
    whatrack: Commands, db: Database, service: str, where: dict[str, str]
):
    shop, other = await make_shop(db, "loja"), await make_shop(db, "outra")
    create = ("user", "create", "--email", EMAIL, "--org", "loja", "--role", "owner")

    weak = typed("1234567890\n", whatrack, *create, **where)
    none = whatrack(*create, **where)
    made = typed(f"{PASSWORD}\n", whatrack, *create, "--operator", "--name", "Ana Prado", "--json", **where)
    again = whatrack(
        *create[:-3], "outra", "--role", "viewer", "--json", **where
    )  # who is known needs no password
    wrong = whatrack("user", "create", "--email", "ana", "--operator", **where)
    listed = whatrack("user", "list", "--json", **where)
    plain = whatrack("user", "list", **where)
    async with stranger(service) as guest:
        entered = await log_in(guest, EMAIL)
        deliveries = await get(guest, "/api/v1/deliveries")

    for refused, said in (
        (weak, "one of the first passwords tried"),
        (none, "There is no password"),
        (wrong, "Write an e-mail"),
    ):
        assert (refused.code, refused.out, refused.err.count("\n")) == (1, "", 1)
        assert said in refused.err
    assert (made.code, made.err, set(made.json)) == (0, "", {"id", "email"})
    assert again.json["id"] == made.json["id"]
    (person,) = listed.json["data"]
    assert (person["email"], person["operator"], person["roles"]) == (
        EMAIL,
        True,
        ["loja:owner", "outra:viewer"],
    )
    assert plain.out == f"{EMAIL}  Ana Prado  loja:owner outra:viewer  operator\n"
    assert (entered.status, deliveries.status) == (303, 200)
    kept = await rows(
        db, "SELECT organization_id, actor, action FROM audit_log WHERE action = 'member_added' ORDER BY at"
    )
    assert [row["organization_id"] for row in kept] == [shop.id, other.id]
    assert PASSWORD not in made.out + made.err


async def test_an_operator_helps_somebody_back_in_without_mail(
    whatrack: Commands, db: Database, service: str, where: dict[str, str]
):
    await make_person(db, await make_shop(db), email=EMAIL)
    made = whatrack("user", "reset-link", "--email", EMAIL.upper(), "--json", **where)
    nobody = whatrack("user", "reset-link", "--email", "eve@example.com", **where)
    path = made.json["link"].removeprefix("http://localhost:3000")
    async with stranger(service) as guest:
        done = await send(guest, path, password=PASSWORD)
        entered = await log_in(guest, EMAIL)

    assert (done.status, entered.status) == (303, 303)
    assert (nobody.code, nobody.err.count("\n")) == (1, 1)


async def test_what_there_is_is_listed_and_a_key_is_revoked(
    whatrack: Commands, db: Database, where: dict[str, str]
):
    shop = await make_shop(db, "loja")
    made = whatrack(
        "api-key", "create", "--org", "loja", "--role", "agent", "--name", "Planilha", "--json", **where
    )
    who = await api_keys.authenticate(db, made.json["key"])
    listed: dict[str, Any] = whatrack("api-key", "list", "--org", "loja", "--json", **where).json
    operators = whatrack("api-key", "list", **where)
    revoked = whatrack("api-key", "revoke", "--id", made.json["id"], "--json", **where)
    again = whatrack("api-key", "revoke", "--id", made.json["id"], **where)
    orgs, numbers = (
        whatrack("org", "list", "--json", **where),
        whatrack("number", "list", "--org", "loja", "--json", **where),
    )

    (key,) = listed["data"]
    assert (key["id"], key["name"], key["role"]) == (made.json["id"], "Planilha", "agent")
    assert key["used_at"] is not None
    assert made.json["key"] not in json.dumps(listed)
    assert operators.out == "There is no key.\n"
    assert revoked.json == {"id": made.json["id"]}
    assert (again.code, "There is no such key" in again.err) == (1, True)
    with pytest.raises(Unauthorized):
        await api_keys.authenticate(db, made.json["key"])
    assert who == Access(shop.id, "agent", f"api_key:{made.json['id']}")
    assert [each["slug"] for each in orgs.json["data"]] == ["loja"]
    assert [each["phone_number_id"] for each in numbers.json["data"]] == [shop.number]
    assert await rows(db, "SELECT actor, action FROM audit_log") == [
        {"actor": "system", "action": "key_revoked"}
    ]


async def test_the_first_start_prints_a_link_each_voids_the_one_before_and_none_follows_an_account(
    whatrack: Commands, db: Database, service: str, where: dict[str, str]
):
    async def printed(**more: str) -> str:
        port = free_port()
        running: Running = whatrack.start("serve", "--port", str(port), **where, **more)
        async with stranger(f"http://127.0.0.1:{port}") as session:
            await ready(session, running)
        await asyncio.sleep(0.1)
        whatrack.kill_all()
        out, _ = running.texts()
        found = re.search(r"^  (\S+/setup/[\w-]{43})$", out, re.MULTILINE)
        return found[1].replace(str(port), "PORT") if found else out

    first = await printed()
    second = await printed(WHATRACK_BASE_URL="https://app.example.com")
    async with stranger(service) as guest:
        old, new = [
            (await get(guest, "/setup/" + each.rpartition("/")[2])).status for each in (first, second)
        ]
    await make_person(db)
    third = await printed()

    assert first.startswith("http://localhost:PORT/setup/")
    assert second.startswith("https://app.example.com/setup/")
    assert (old, new) == (404, 200)
    assert third == ""


def test_a_command_about_people_that_is_written_wrong_touches_nothing(whatrack: Commands):
    create = ("user", "create", "--email", EMAIL)
    wrong = [create, (*create, "--org", "x"), (*create, "--role", "owner"), (*create, "--org", "x", "--role", "boss"), ("user", "reset-link"),
             ("api-key", "revoke"), ("api-key", "revoke", "--id", "x"), ("number", "list")]  # fmt: skip

    ended = [whatrack(*arguments, DATABASE_URL="nonsense") for arguments in wrong]

    assert [(each.code, each.out) for each in ended] == [(2, "")] * len(wrong)
