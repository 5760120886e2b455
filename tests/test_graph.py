"""The Graph client against the sandbox over HTTP: pages, ids, batches, limits, retries, and what stays secret."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import aiohttp
import msgspec
import pytest
from aiohttp import web

from tests.graph import Meta, a_graph, a_meta
from whatrack.meta.calls import Answer, Part, Token
from whatrack.meta.errors import (
    BadRequest,
    GraphError,
    MissingPermission,
    NoAnswer,
    NotVisible,
    Throttled,
    TokenDead,
    Transient,
    Unreachable,
    VersionGone,
)
from whatrack.meta.graph import Graph


class Node(msgspec.Struct):
    """Anything with an id."""

    id: str
    name: str = ""


@pytest.fixture(scope="module")
def shared() -> Iterator[Meta]:
    with a_meta() as meta:
        yield meta


@pytest.fixture
def meta(shared: Meta) -> Meta:
    shared.sandbox.reset()
    return shared


@pytest.fixture
async def graph(meta: Meta) -> AsyncIterator[Graph]:
    async with a_graph(meta, patience_s=0.5) as found:
        yield found


async def test_a_read_gives_the_typed_node_with_proof_demanded(meta: Meta, graph: Graph):
    meta.sandbox.cast.ads_app.require_proof = True
    person = meta.sandbox.cast.thiago
    assert await graph.get("me", meta.token, Node) == Node(person.id, person.name)
    with pytest.raises(BadRequest):
        await graph.get("me", Token(meta.token.value), Node)


@pytest.mark.parametrize("oddity", ["short_pages", "empty_page"])
async def test_a_list_ends_only_when_there_is_no_next_page(meta: Meta, graph: Graph, oddity: str):
    meta.sandbox.faults.inject(oddity, times=None, path="me/adaccounts")
    found = await graph.every("me/adaccounts", meta.token, Node, params={"fields": "id,name", "limit": 2})
    assert [each.id for each in found] == [f"act_{each}" for each in meta.sandbox.cast.thiago.account_ids]


async def test_a_list_that_never_ends_is_given_up(meta: Meta, graph: Graph):
    with pytest.raises(BadRequest) as error:
        await graph.every("me/adaccounts", meta.token, Node, params={"limit": 1}, most=2)
    assert error.value.reason == "too_many_pages"


async def test_ids_that_are_not_visible_are_found_by_halving(meta: Meta, graph: Graph):
    ads = [ad.id for ad in meta.sandbox.ads()]
    asked = [*ads[:3], "120200000000000001", *ads[3:], "120200000000000002"]
    found = await graph.by_ids(asked, meta.token, Node, fields="id,name")
    assert set(found) == set(ads)
    meta.sandbox.faults.inject("ids_omit", times=None)
    assert set(await graph.by_ids(asked, meta.token, Node, fields="id,name")) == set(ads)


async def test_a_batch_answers_each_part_in_order_and_a_lost_one_says_so(meta: Meta, graph: Graph):
    ads = [ad.id for ad in meta.sandbox.ads()]
    meta.sandbox.faults.inject("batch_null", part=1)
    parts = [Part(ads[0], {"fields": "id"}), Part(ads[1]), Part("1200000000001"), Part(ads[2])]
    first, lost, hidden, last = await graph.batch(parts, meta.token)
    assert isinstance(first, Answer)
    assert first.read(Node).id == ads[0]
    assert isinstance(lost, NoAnswer)
    assert isinstance(hidden, NotVisible)
    assert isinstance(last, Answer)
    assert len(await graph.batch([Part(ads[0])] * 120, meta.token)) == 120


@pytest.mark.parametrize("kind", ["server_error", "drop_request", "drop_answer"])
async def test_a_read_outlives_a_passing_trouble(meta: Meta, graph: Graph, kind: str):
    meta.sandbox.faults.inject(kind, times=2)
    assert (await graph.get("me", meta.token, Node)).id == meta.sandbox.cast.thiago.id


async def test_a_read_is_given_up_in_the_end(meta: Meta, graph: Graph):
    meta.sandbox.faults.inject("server_error", times=None)
    with pytest.raises(Transient):
        await graph.get("me", meta.token, Node)


async def test_a_write_is_never_sent_twice(meta: Meta, graph: Graph):
    waba = meta.sandbox.cast.waba.id
    fault = meta.sandbox.faults.inject("drop_answer", times=None, method="POST")
    with pytest.raises(NoAnswer):
        await graph.post(f"{waba}/subscribed_apps", meta.token, dict)
    assert fault.taken == 1


async def test_nothing_listening_is_told_from_no_answer():
    graph = Graph("http://127.0.0.1:9", "v26.0")
    with pytest.raises(Unreachable):
        await graph.get("me", Token("x"), Node, tries=1)
    await graph.close()


async def test_a_slow_answer_is_no_answer(meta: Meta):
    meta.sandbox.faults.inject("slow", seconds=1)
    async with a_graph(meta, timeout_s=0.2) as graph:
        with pytest.raises(NoAnswer):
            await graph.get("me", meta.token, Node, tries=1)


async def test_a_limit_that_was_hit_stops_this_accounts_calls_and_no_others(meta: Meta, graph: Graph):
    one, other = meta.sandbox.cast.thiago.account_ids[:2]
    meta.sandbox.faults.inject("throttle", code=17, minutes=7, account_id=one)
    with pytest.raises(Throttled) as error:
        await graph.get(f"act_{one}", meta.token, Node)
    assert (error.value.scope, error.value.retry_after_s) == ("account", 420.0)
    with pytest.raises(Throttled, match="limit_nearly_used"):  # without asking Meta again
        await graph.get(f"act_{one}", meta.token, Node)
    assert (await graph.get(f"act_{other}", meta.token, Node)).id == f"act_{other}"


async def test_a_limit_of_the_app_stops_everything_of_that_app(meta: Meta, graph: Graph):
    meta.sandbox.faults.inject("throttle", code=4, minutes=0)
    with pytest.raises(Throttled) as error:
        await graph.get("me", meta.token, Node)
    assert error.value.scope == "app"
    with pytest.raises(Throttled):
        await graph.get(f"act_{meta.sandbox.account.id}", meta.token, Node)


@pytest.mark.parametrize(("percent", "stopped"), [(50, False), (95, True)])
async def test_calls_stop_before_the_limit(meta: Meta, graph: Graph, percent: int, stopped: bool):
    account = f"act_{meta.sandbox.account.id}"
    meta.sandbox.faults.inject("usage", percent=percent, minutes=3)
    await graph.get(account, meta.token, Node)
    if not stopped:
        await graph.get(account, meta.token, Node)
        return
    with pytest.raises(Throttled) as error:
        await graph.get(account, meta.token, Node)
    assert 100 < error.value.retry_after_s <= 180


async def test_calls_slow_down_on_the_way_to_the_limit(meta: Meta, graph: Graph):
    account = f"act_{meta.sandbox.account.id}"
    meta.sandbox.faults.inject("usage", percent=76)  # a third of a second apart
    await graph.get(account, meta.token, Node)
    began = time.monotonic()
    await graph.get(account, meta.token, Node)
    assert time.monotonic() - began > 0.25


async def test_each_kind_of_refusal_is_its_own_error(meta: Meta, graph: Graph):
    sandbox = meta.sandbox
    with pytest.raises(NotVisible):
        await graph.get("120200000000000001", meta.token, Node)
    sandbox.faults.inject("expired_versions", versions=["v26.0"])
    with pytest.raises(VersionGone):
        await graph.get("me", meta.token, Node)
    sandbox.faults.inject("error", code=10)
    with pytest.raises(MissingPermission) as error:
        await graph.get("me", meta.token, Node)
    assert error.value.reason == "no_advanced_access"
    sandbox.world.tokens[meta.token.value].trouble = 460
    with pytest.raises(TokenDead) as dead:
        await graph.get("me", meta.token, Node)
    assert (dead.value.reason, bool(dead.value.trace)) == ("password_changed", True)


async def test_no_error_holds_the_token(meta: Meta, graph: Graph):
    meta.sandbox.faults.inject("error", code=190, message=f"Malformed access token {meta.token.value}")
    with pytest.raises(GraphError) as error:
        await graph.get("me", meta.token, Node)
    for text in (str(error.value), repr(error.value), error.value.message, repr(meta.token)):
        assert meta.token.value not in text
    assert error.value.message.startswith("Malformed access token")


async def test_a_token_travels_in_a_header_and_a_next_page_elsewhere_is_refused():
    """Meta's `next` repeats the token in the address: we ask for the page in our own words, and of nobody else."""
    asked: list[web.Request] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request)
        following = "https://graph.example/v26.0/me?access_token=EAAsecret&after=B"
        return web.json_response({"data": [], "paging": {"next": following}})

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    graph = Graph(f"http://127.0.0.1:{port}", "v26.0")
    with pytest.raises(BadRequest, match="foreign_next"):
        await graph.every("me/adaccounts", Token("EAAsecret", "s"), Node)
    await graph.close()
    await runner.cleanup()
    assert asked[0].headers["authorization"] == "Bearer EAAsecret"
    assert "EAAsecret" not in str(asked[0].url)


async def test_many_calls_at_once_share_one_session(meta: Meta, graph: Graph):
    found = await asyncio.gather(*(graph.get("me", meta.token, Node) for _ in range(50)))
    assert {each.id for each in found} == {meta.sandbox.cast.thiago.id}
    assert isinstance(graph._opened, aiohttp.ClientSession)
