"""`whatrack demo`: from nothing to attributed tickets in one command, again and again, leaving nothing behind.

The months it plays are tests/test_history.py's; here they are a day or two, or none. Every test here runs on the folder that the one before it left.
"""

import asyncio
import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.test_cli import Commands, database_of, is_stopped, until
from whatrack import demo, embedded
from whatrack.demo.traffic import Afternoon
from whatrack.sandbox.machine import Sandbox

pytestmark = pytest.mark.xdist_group("demo")

DEMO = ("demo", "--port", "0", "--days", "0")
WITH_A_PAST = (
    "demo",
    "--port",
    "0",
    "--days",
    "6",
)  # of fewer, the hour decides whether everybody has a ticket


@pytest.fixture(scope="module")
def whatrack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    commands = Commands(tmp_path_factory.mktemp("commands"))
    yield commands
    commands.close()


@pytest.fixture(scope="module")
def where(whatrack: Commands) -> Iterator[dict[str, str]]:
    """An environment that a demo must not mind: another database, other secrets, and a data dir beside which it lies."""
    data_dir = whatrack.folder / "data"
    yield {
        "WHATRACK_DATA_DIR": str(data_dir),
        "DATABASE_URL": "postgresql://u:p@127.0.0.1:1/db",
        "WHATSAPP_APP_SECRET": "another",
        "WHATSAPP_VERIFY_TOKEN": "another",
    }
    embedded.remove(demo.demo_folder(data_dir))


@pytest.fixture
def folder(whatrack: Commands, where: dict[str, str]) -> Iterator[str]:
    """The demo's own data dir; no demo runs after the test."""
    yield str(demo.demo_folder(Path(where["WHATRACK_DATA_DIR"])))
    whatrack.kill_all()


def test_the_demo_prints_the_tickets_of_at_least_eight_ad_clicks(
    whatrack: Commands, where: dict[str, str], folder: str
):
    run = whatrack(*DEMO, "--exit", **where)

    assert (run.code, run.err) == (0, "")
    assert is_stopped(folder)
    lines = run.out.splitlines()
    (head,) = [place for place, line in enumerate(lines) if line.startswith("CONTACT")]
    table = [re.split(r"\s{2,}", line) for line in lines[head + 1 : lines.index("", head)]]
    assert all(len(row) == 6 for row in table)
    credit = {row[0]: (row[3], row[4]) for row in table}
    ads = {
        name: credited.partition("(")[2].rstrip(")")
        for name, (credited, _) in credit.items()
        if credited.startswith("ad ")
    }
    assert ads == {
        "Ana Prado": "Limpeza a R$ 99", "Bruno Lima": "Aparelho", "Carla Dias": "Limpeza a R$ 99",
        "Elisa Melo": "Aparelho", "Fábio Nunes": "Clareamento", "Hugo Reis": "Aparelho",
    }  # fmt: skip
    assert credit["Davi Rocha"][0].startswith("post ")
    assert credit["Gabi Souza"] == ("—", "—")
    assert credit["Carla Dias"][1] == "—"  # from WhatsApp Status: no click id
    assert all(
        click.startswith("Af") for name, (_, click) in credit.items() if name in ads and name != "Carla Dias"
    )
    assert f"{len(table)} tickets." in lines
    sent = json.dumps(list(Afternoon(Sandbox(), 1_800_000_000).bodies()))
    assert len(re.findall(r'"source_type": "ad"', sent)) >= 8
    assert (Path(where["WHATRACK_DATA_DIR"])).exists() is False  # the real one is not touched


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_running_demo_serves_its_tickets_and_a_signal_ends_it_with_its_database(
    whatrack: Commands, where: dict[str, str], folder: str, number: signal.Signals
):
    running = whatrack.start(*DEMO, **where)
    await until(lambda: "Ctrl-C" in running.texts()[0], running)
    found = re.search(r"Bearer (\S+)' (http://127\.0\.0\.1:\d+)(/api/v1/tickets)", running.texts()[0])
    assert found
    async with aiohttp.ClientSession(found[2]) as session:
        async with session.get(found[3], headers={"Authorization": f"Bearer {found[1]}"}) as answer:
            tickets = (await answer.json())["data"]
        async with session.get("/readyz") as answer:
            ready = answer.status
    second = whatrack(*DEMO, "--exit", **where)
    lives = database_of(folder) is not None
    running.send(number)
    ended = running.end()

    assert (len(tickets), ready) == (8, 200)
    assert (second.code, second.err.count("\n")) == (1, 1)  # one at a time, in one line
    assert "in use" in second.err
    assert (lives, ended.code, is_stopped(folder)) == (True, 0, True)
    assert "Traceback" not in ended.err


async def test_a_demo_told_to_stop_while_it_starts_stops(
    whatrack: Commands, where: dict[str, str], folder: str
):
    running = whatrack.start(*DEMO, **where)
    await until(lambda: database_of(folder) is not None, running)
    running.send(signal.SIGTERM)
    ended = running.end()

    assert ended.code in (0, 128 + signal.SIGTERM)
    assert "Traceback" not in ended.err
    assert is_stopped(folder)


async def test_the_demo_plays_a_past_and_people_keep_coming_until_a_signal_ends_it(
    whatrack: Commands, where: dict[str, str], folder: str
):
    running = whatrack.start(*WITH_A_PAST, **where)
    await until(lambda: "Ctrl-C" in running.texts()[0], running)
    said = running.texts()[0]
    found = re.search(r"Bearer (\S+)' (http://127\.0\.0\.1:\d+)(/api/v1/tickets)", said)
    assert found
    headers = {"Authorization": f"Bearer {found[1]}"}
    seen: list[str] = []
    async with aiohttp.ClientSession(found[2]) as session:
        async with session.get(found[3], params={"limit": "200"}, headers=headers) as answer:
            owners = {each["owner"]["name"] for each in (await answer.json())["data"] if each["owner"]}
        for _ in range(600):
            async with session.get(found[3], params={"limit": "1"}, headers=headers) as answer:
                seen.append((await answer.json())["data"][0]["id"])
            if len(set(seen)) > 1:
                break
            await asyncio.sleep(0.1)
    running.send(signal.SIGINT)
    ended = running.end()

    assert len(set(seen)) > 1
    assert owners == {"Júlia Prado", "Rafael Nunes"}
    assert "6 days of Clínica Sorriso, Clínica Sorriso Manaus, Horizonte US: " in said
    assert re.search(r"^  days lived: 6$", said, re.MULTILINE)
    assert "Meta has heard of the last month's leads and sales" in said
    assert re.search(r"^Played in \d+ s;", said, re.MULTILINE)
    assert (ended.code, is_stopped(folder)) == (0, True)
    assert "Traceback" not in ended.err
