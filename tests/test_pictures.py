"""Pictures of ads: wanted by the drain, fetched from allowed hosts alone, kept small, shown to their organization's members."""

import asyncio
import socket
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.roi_world import make_world
from tests.support import Shop, ad, body, change, make_shop, message, process, rows
from tests.test_pages_tickets import get, visiting
from whatrack.attribution import pictures
from whatrack.db import Database
from whatrack.meta import media
from whatrack.meta.media import Media, NotFetched, is_public, picture_type
from whatrack.roi import sharing
from whatrack.sandbox import drawings
from whatrack.sandbox.machine import Sandbox
from whatrack.sandbox.server import served
from whatrack.sandbox.traffic import referral
from whatrack.tenants.access import Access
from whatrack.workers import PictureFetcher

PNG = b"\x89PNG\r\n\x1a\n" + b"pixels"
JPEG, GIF, WEBP = b"\xff\xd8\xff\xe0jpeg", b"GIF89a..", b"RIFF\x10\0\0\0WEBPVP8 "
AD = "120226305854810726"


class Host:
    """A server of pictures on 127.0.0.1. answers: path → what it does; asked: the paths that were."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {"/a.png": PNG}
        self.asked: list[str] = []
        self.name = ""

    def link(self, path: str = "/a.png") -> str:
        return f"http://{self.name}{path}"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        found = self.answers.get(request.path, 404)
        if callable(found):
            answered: web.StreamResponse = await found(request)
            return answered
        if isinstance(found, int):
            return web.Response(status=found)
        if isinstance(found, str):
            return web.Response(status=302, headers={"location": found})
        return web.Response(body=found, content_type="text/html")


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    made = Host()
    app = web.Application()
    app.router.add_get("/{path:.*}", made.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    listener = socket.create_server(("127.0.0.1", 0))
    await web.SockSite(runner, listener).start()
    made.name = f"127.0.0.1:{listener.getsockname()[1]}"
    yield made
    await runner.cleanup()


async def kept(db: Database) -> list[dict[str, Any]]:
    return await rows(db, "SELECT * FROM ad_pictures ORDER BY organization_id, source_id")


async def due_now(db: Database) -> None:
    async with db.system() as conn:
        await conn.execute("UPDATE ad_pictures SET next_attempt_at = now() - interval '1 second'")


async def click(db: Database, shop: Shop, *referrals: dict[str, Any]) -> None:
    sent = [message(f"55119000{place:05d}", referral=each) for place, each in enumerate(referrals)]
    await process(db, body(change(shop.number, *sent)))


@asynccontextmanager
async def fetching(host: Host) -> AsyncIterator[Media]:
    async with Media([host.name]) as opened:
        yield opened


# ---- what the drain writes down


async def test_a_touch_with_a_picture_makes_one_wanted_row_however_often_it_comes(db: Database):
    shop = await make_shop(db)
    link = "https://scontent.xx.fbcdn.net/v/a.jpg?oh=1"
    await click(
        db,
        shop,
        ad(AD, "Aff-1", image_url=link),
        ad(AD, "Aff-2", image_url=link + "2"),
        ad("17", None, source_type="post", media_type="video", thumbnail_url=link + "3"),
        ad("18", "Aff-4"),
        ad("19", "Aff-5", image_url="x" * 5000),
    )
    await click(db, shop, ad(AD, "Aff-6", image_url="https://elsewhere.fbcdn.net/b.jpg"))

    found = await kept(db)
    assert [(row["source_id"], row["url"], row["state"], row["attempts"]) for row in found] == [
        (AD, link, "wanted", 0),
        ("17", link + "3", "wanted", 0),
    ]


async def test_each_organization_has_its_own_picture_of_an_ad(db: Database, service: str):
    shops = [await make_shop(db, "nossa"), await make_shop(db, "deles")]
    for shop in shops:
        await click(db, shop, ad(AD, image_url="https://scontent.fbcdn.net/a.jpg"))

    assert {row["organization_id"] for row in await kept(db)} == {shop.id for shop in shops}


# ---- fetching


async def test_a_wanted_picture_is_fetched_and_shown_to_members_alone(db: Database, service: str, host: Host):
    ours, theirs = await make_shop(db, "nossa"), await make_shop(db, "deles")
    await click(db, ours, ad(AD, image_url=host.link()))
    await due_now(db)

    assert await PictureFetcher(db, (host.name,)).step() is False

    (row,) = await kept(db)
    assert (row["state"], row["media_type"], bytes(row["bytes"])) == ("had", "image/png", PNG)
    path = f"/tickets/pictures/{AD}"
    async with visiting(db, service, ours, "viewer") as browser:
        async with browser.get(path) as answer:
            assert (answer.status, await answer.read()) == (200, PNG)
            headers = answer.headers
        assert (await get(browser, "/tickets/pictures/404"))[0] == 404
        (ticket,) = await rows(db, "SELECT id FROM tickets")
        assert f'src="{path}"' in (await get(browser, f"/tickets/{ticket['id']}"))[1]
    assert headers["content-type"] == "image/png"
    assert headers["cache-control"] == "private, max-age=86400"
    assert headers["x-content-type-options"] == "nosniff"
    async with visiting(db, service, theirs, "owner") as browser:
        assert (await get(browser, path))[0] == 404
    async with aiohttp.ClientSession(service) as nobody, nobody.get(path, allow_redirects=False) as answer:
        assert answer.status == 303


async def test_a_picture_that_cannot_be_had_now_is_tried_five_times_then_gone(db: Database, host: Host):
    shop = await make_shop(db)
    host.answers["/a.png"] = 503
    await click(db, shop, ad(AD, image_url=host.link()))
    fetcher = PictureFetcher(db, (host.name,))
    waits = []
    row: dict[str, Any] = {}
    for _ in range(6):
        await due_now(db)
        await fetcher.step()
        (row,) = await rows(
            db,
            "SELECT state, reason, attempts, extract(epoch FROM next_attempt_at - now())::int AS wait FROM ad_pictures",
        )
        waits.append(row["wait"])

    assert host.asked == ["/a.png"] * 5
    assert (row["state"], row["reason"], row["attempts"]) == ("gone", "http_503", 5)
    assert [round(wait / 60) for wait in waits[:4]] == [1, 4, 16, 64]


@pytest.mark.parametrize("status", [401, 403, 404, 410])
async def test_a_dead_link_is_gone_at_once(db: Database, host: Host, status: int):
    shop = await make_shop(db)
    host.answers["/a.png"] = status
    await click(db, shop, ad(AD, image_url=host.link()))
    await PictureFetcher(db, (host.name,)).step()

    (row,) = await kept(db)
    assert (row["state"], row["reason"]) == ("gone", f"http_{status}")


async def test_two_fetchers_share_the_work_and_a_dead_ones_is_taken_over(db: Database, host: Host):
    shop = await make_shop(db)
    await click(db, shop, *[ad(str(place), f"Aff-{place}", image_url=host.link()) for place in range(6)])
    async with db.system() as conn:
        first = await pictures.claim(conn, 4)
    async with db.system() as conn:
        second = await pictures.claim(conn, 4)
    assert (len(first), len(second)) == (4, 2)
    assert not {each.source_id for each in first} & {each.source_id for each in second}

    await due_now(db)  # both died, and their leases are over
    await PictureFetcher(db, (host.name,)).step()
    async with db.tenant(shop.id) as conn:  # one was only slow: its late word changes nothing
        await pictures.give_up(conn, first[0], "too_slow", for_good=True)

    assert {row["state"] for row in await kept(db)} == {"had"}
    assert len(host.asked) == 6


@pytest.mark.parametrize(
    ("content", "kind"),
    [(PNG, "image/png"), (JPEG, "image/jpeg"), (GIF, "image/gif"), (WEBP, "image/webp")],
)
async def test_a_picture_is_known_by_its_content_whatever_the_server_says(
    host: Host, content: bytes, kind: str
):
    host.answers["/a.png"] = content
    async with fetching(host) as opened:
        assert await opened.picture(host.link()) == (kind, content)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>",
        b"<!doctype html>",
        b"RIFF....WAVE",
        b"%PDF",
    ],
)
async def test_what_is_no_picture_is_never_kept(host: Host, content: bytes):
    host.answers["/a.png"] = content
    async with fetching(host) as opened:
        with pytest.raises(NotFetched, match="not_a_picture") as refused:
            await opened.picture(host.link())

    assert refused.value.for_good
    assert picture_type(content) is None


async def test_a_picture_over_two_megabytes_is_dropped_while_it_comes(host: Host):
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        answer = web.StreamResponse()
        await answer.prepare(request)
        try:
            await answer.write(JPEG)
            while sent < 100 * media.MAX_BYTES:
                await answer.write(b"\0" * 65_536)
                sent += 65_536
        except ConnectionError:
            pass
        return answer

    host.answers["/a.png"] = endless
    async with fetching(host) as opened:
        with pytest.raises(NotFetched, match="too_large"):
            await opened.picture(host.link())

    assert sent < 50 * media.MAX_BYTES


async def test_a_picture_of_exactly_two_megabytes_is_kept(db: Database, host: Host):
    shop = await make_shop(db)
    host.answers["/a.png"] = JPEG.ljust(media.MAX_BYTES, b"\0")
    await click(db, shop, ad(AD, image_url=host.link()))
    await PictureFetcher(db, (host.name,)).step()

    assert [row["state"] for row in await kept(db)] == ["had"]


async def test_a_compressed_answer_does_not_unfold(host: Host):
    async def zipped(_request: web.Request) -> web.Response:
        return web.Response(body=b"\x1f\x8b" + b"\0" * 100, headers={"content-encoding": "gzip"})

    host.answers["/a.png"] = zipped
    async with fetching(host) as opened:
        with pytest.raises(NotFetched, match="not_a_picture"):
            await opened.picture(host.link())


async def test_a_host_that_does_not_answer_is_tried_again(host: Host):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        name = f"127.0.0.1:{silent.getsockname()[1]}"
    async with Media([name]) as opened:
        with pytest.raises(NotFetched, match="unreachable") as refused:
            await opened.picture(f"http://{name}/a.png")

    assert not refused.value.for_good


# ---- where it may lead


@pytest.mark.parametrize(
    "link",
    [
        "http://scontent.fbcdn.net/a.jpg",
        "https://scontent.fbcdn.net:8443/a.jpg",
        "https://user:secret@scontent.fbcdn.net/a.jpg",
        "https://fbcdn.net.evil.example/a.jpg",
        "https://evilfbcdn.net/a.jpg",
        "https://evil.example/fbcdn.net",
        "https://127.0.0.1/a.jpg",
        "https://[::1]/a.jpg",
        "https://169.254.169.254/latest/meta-data",
        "ftp://scontent.fbcdn.net/a.jpg",
        "file:///etc/passwd",
        "//scontent.fbcdn.net/a.jpg",
        "",
    ],
)
async def test_only_https_on_metas_hosts_is_fetched(link: str):
    async with Media() as opened:
        with pytest.raises(NotFetched, match="host_not_allowed") as refused:
            await opened.picture(link)

    assert refused.value.for_good


@pytest.mark.parametrize("link", ["https://[", "https://scontent.fbcdn.net:99999/a"])
async def test_a_link_that_is_none_is_gone(link: str):
    async with Media() as opened:
        with pytest.raises(NotFetched, match="bad_link"):
            await opened.picture(link)


async def test_a_redirect_within_the_hosts_is_followed_and_none_leads_out(host: Host):
    host.answers |= {
        "/moved": "/a.png",
        "/out": "https://evil.example/a.png",
        "/inside": "http://127.0.0.1:1/a.png",
        "/round": "/round",
    }
    async with fetching(host) as opened:
        assert (await opened.picture(host.link("/moved")))[1] == PNG
        for path, reason in (
            ("/out", "host_not_allowed"),
            ("/inside", "host_not_allowed"),
            ("/round", "too_many"),
        ):
            with pytest.raises(NotFetched, match=reason):
                await opened.picture(host.link(path))


async def test_a_name_that_leads_into_our_own_network_is_not_connected_to(host: Host):
    """A host of Meta's would resolve so only by mischief: here a name that nobody added stands for it."""
    port = host.name.partition(":")[2]
    async with Media() as opened:
        with pytest.raises(aiohttp.ClientError) as refused:
            await opened._session.get(f"http://localhost:{port}/a.png")

    assert media._is_private(refused.value)
    assert host.asked == []


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("157.240.12.35", True),
        ("2a03:2880:f205:c5:face:b00c:0:167", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.20.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:10.0.0.1", False),
        ("2002:7f00:1::", False),
    ],
)
def test_which_addresses_are_public(address: str, public: bool):
    assert is_public(address) == public


async def test_the_service_fetches_by_itself(db: Database, service: str, host: Host):
    """Hosts are Meta's unless the installation adds one: without it, the picture is given up at once."""
    shop = await make_shop(db)
    await click(db, shop, ad(AD, image_url=host.link()))
    row: dict[str, Any] = {}
    for _ in range(100):
        (row,) = await kept(db)
        if row["state"] != "wanted":
            break
        await asyncio.sleep(0.1)

    assert (row["state"], row["reason"]) == ("gone", "host_not_allowed")
    assert host.asked == []


# ---- the sandbox's own drawings, by the product's own way


def test_each_creative_has_a_drawing_of_its_own_that_is_a_whole_png():
    drawn = {key: drawings.png(1, key) for key in ("1", "2", "3")}
    assert drawn["1"] == drawings.png(1, "1")
    assert len({*drawn.values()}) == 3
    for content in drawn.values():
        assert picture_type(content) == "image/png"
        at = content.index(b"IDAT")
        length = int.from_bytes(content[at - 4 : at])
        assert len(zlib.decompress(content[at + 4 : at + 4 + length])) == drawings.SIDE * (
            3 * drawings.SIDE + 1
        )
        assert len(content) < 20_000


async def test_an_ads_drawing_is_on_its_ticket_its_card_and_its_row_and_on_no_link_for_clients(
    db: Database, service: str
):
    world = await make_world(db, seed=61, tickets=0)
    sandbox = Sandbox()
    with served(sandbox) as meta:
        sandbox.world.pictures_at = meta
        click = sandbox.traffic.tap(sandbox.ads()[0].id, "5511900000001", 0)
        told = referral(sandbox.world, click)
        link = told.get("image_url") or told["thumbnail_url"]
        assert link.startswith(meta)
        await process(db, body(change(world.shop.number, message("5511900000001", referral=ad("100", "Aff-1", image_url=link)))))  # fmt: skip
        await PictureFetcher(db, (meta.removeprefix("http://"),)).step()
        async with aiohttp.ClientSession(meta) as http, http.get("/_sandbox/pictures/1.png") as answer:
            assert answer.status == 404
    async with db.tenant(world.shop.id) as conn:
        path = await sharing.create(conn, Access(world.shop.id, "owner", "system"), "x", "level=ad&spent=0", 7)  # fmt: skip

    source = "/tickets/pictures/100"
    async with visiting(db, service, world.shop) as browser:
        (ticket,) = await rows(db, "SELECT id FROM tickets")
        for page in ("/tickets", f"/tickets/{ticket['id']}", "/roi?level=ad&spent=0"):
            _status, text = await get(browser, page)
            assert text.count(f'src="{source}"') == text.count("/tickets/pictures/") == 1, page
        async with browser.get(source) as shown:
            assert shown.content_type == "image/png"
        _status, text = await get(browser, path)
        assert "Anúncio 100" in text
        assert "/tickets/pictures/" not in text
