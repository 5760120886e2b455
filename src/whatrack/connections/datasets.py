"""Datasets (formerly pixels): those of an ad account, the one of a WhatsApp account, and what a pasted id stands for.

A WhatsApp account has one dataset of its own, made the first time somebody asks for it; a website's pixel is another thing
and does not take messaging events (2804132).
Source: Meta, "Conversions API for business messaging"
<https://developers.facebook.com/documentation/ads-commerce/conversions-api/business-messaging>, read 2026-11.
"""

import re
from uuid import UUID

import msgspec

from whatrack.connections import ad_accounts, tokens
from whatrack.connections.ad_accounts import AdAccount
from whatrack.connections.keys import Held, Keys
from whatrack.connections.route import SENDS_EVENTS
from whatrack.connections.tokens import Facts
from whatrack.db import Database
from whatrack.errors import NotFound, Refused, bad_value
from whatrack.meta.calls import Token
from whatrack.meta.errors import BadRequest, GraphError, MissingPermission, NotVisible, TokenDead
from whatrack.meta.graph import Graph

MANAGES_WHATSAPP = "whatsapp_business_management"
_ID = re.compile(r"[0-9]{5,32}", re.ASCII)
# A field that only this kind of node has tells what an id is; asked for elsewhere it is refused (100).
_TELLTALES = {
    "dataset": "id,name,data_use_setting",
    "phone": "id,display_phone_number",
    "waba": "id,message_template_namespace",
}


class Dataset(msgspec.Struct, frozen=True):
    """A dataset. is_linked: to one of the organization's WhatsApp accounts; waba_id: whose own it is."""

    id: str
    name: str = ""
    is_linked: bool = False
    waba_id: str | None = None


class _Node(msgspec.Struct, frozen=True):
    id: str
    name: str = ""


class _Own(msgspec.Struct, frozen=True):
    """A WhatsApp account's dataset: reports differ on whether Meta answers with a list or a node, so both are read."""

    id: str | None = None
    name: str = ""
    data: list[_Node] = []


async def of_account(
    db: Database, graph: Graph, keys: Keys, account: AdAccount, facts: Facts
) -> list[Dataset]:
    """The datasets to choose from for an account, the WhatsApp accounts' own first; GraphError, or Refused no_token."""
    async with db.tenant(account.organization_id) as conn:
        held = await tokens.token_for_account(conn, account.organization_id, account.ad_account_id)

    async def call(token: Token) -> list[_Node]:
        path = f"{account.ad_account_id}/adspixels"
        return await graph.every(path, token, _Node, params={"fields": "id,name", "limit": 100}, most=10)

    own = own_datasets(facts)
    found = {each.id: each.name for each in await tokens.with_any(db, keys, held, call)}
    linked = [Dataset(each, found.get(each, ""), True, waba_id) for each, waba_id in own.items()]
    return [*linked, *(Dataset(each, name) for each, name in sorted(found.items()) if each not in own)]


def own_datasets(facts: Facts) -> dict[str, str]:
    """Dataset → the WhatsApp account whose own it is, as far as they are known."""
    return {each.dataset_id: each.waba_id for each in facts.numbers if each.dataset_id}


async def ask_for_own(
    db: Database, graph: Graph, keys: Keys, organization_id: UUID, waba_id: str
) -> tuple[str | None, str | None]:
    """(the dataset of a WhatsApp account, None), made by Meta when there is none; or (None, why it cannot be had)."""
    async with db.tenant(organization_id) as conn:
        facts = await tokens.facts(conn, organization_id)
    if not any(each.waba_id == waba_id for each in facts.numbers):
        raise NotFound("None of the organization's numbers is of this WhatsApp account.")
    held = _may_make(facts, waba_id)
    try:
        return await tokens.with_any(db, keys, held, lambda token: create(graph, token, waba_id)), None
    except Refused:
        return None, "events_permission_missing"
    except GraphError as error:
        return None, error.reason


def _may_make(facts: Facts, waba_id: str) -> list[Held]:
    """The tokens to ask with: the numbers' own, then profiles with both permissions."""
    of_numbers = [each.held for each in facts.numbers if each.waba_id == waba_id and each.held]
    needed = {SENDS_EVENTS, MANAGES_WHATSAPP}
    return [*of_numbers, *(each.held for each in facts.profiles if needed <= each.scopes)]


async def create(graph: Graph, token: Token, waba_id: str) -> str:
    """The WhatsApp account's dataset, made now or before: asking twice gives the same one."""
    made = await graph.post(f"{waba_id}/dataset", token, _Own, tries=3)
    found = made.id or next((each.id for each in made.data), None)
    if found is None:
        raise NotVisible("not_visible")
    return found


async def recognised(
    db: Database, graph: Graph, keys: Keys, account: AdAccount, facts: Facts, pixel_id: str
) -> Dataset:
    """The dataset of a chosen or pasted id; 422 with the reason when the id is something else, or cannot be seen."""
    _refuse_known_others(facts, pixel_id)
    own = own_datasets(facts)
    async with db.tenant(account.organization_id) as conn:
        held = await tokens.token_for_account(conn, account.organization_id, account.ad_account_id)
    held += [each.held for each in facts.numbers if each.held]
    if pixel_id in own:
        return Dataset(pixel_id, await _name(db, graph, keys, held, pixel_id), True, own[pixel_id])
    try:
        node = await tokens.with_any(db, keys, held, lambda token: _node_of_dataset(graph, token, pixel_id))
    except (NotVisible, MissingPermission, TokenDead):
        async with db.tenant(account.organization_id) as conn:
            if await ad_accounts.is_known(conn, account.organization_id, pixel_id):
                raise _something_else("account") from None
        raise bad_value(
            "pixel_id", "No connected profile sees a dataset with this id.", code="pixel_not_visible"
        ) from None
    return Dataset(node.id, node.name)


async def _name(db: Database, graph: Graph, keys: Keys, held: list[Held], dataset_id: str) -> str:
    """How a dataset is called; "" when nobody can say now, which is no reason not to choose it."""
    try:
        return (
            await tokens.with_any(db, keys, held, lambda token: _node_of_dataset(graph, token, dataset_id))
        ).name
    except (GraphError, Refused):
        return ""


def _refuse_known_others(facts: Facts, pixel_id: str) -> None:
    if not _ID.fullmatch(pixel_id):
        raise bad_value("pixel_id", "A dataset's id is digits alone.", code="pixel_malformed")
    others = {each.waba_id: "waba" for each in facts.numbers}
    others |= {each.phone_number_id: "phone" for each in facts.numbers}
    if pixel_id in others:
        raise _something_else(others[pixel_id])


async def _node_of_dataset(graph: Graph, token: Token, pixel_id: str) -> _Node:
    """The node, when it is a dataset; else the refusal that says what it is instead."""
    for kind, fields in _TELLTALES.items():
        try:
            node = await graph.get(pixel_id, token, _Node, params={"fields": fields})
        except BadRequest:
            continue  # it has no such field: it is of another kind
        if kind == "dataset":
            return node
        raise _something_else(kind)
    raise _something_else("other")


def _something_else(kind: str) -> Refused:
    said = {
        "phone": "This is the id of a phone number, not of a dataset.",
        "waba": "This is the id of a WhatsApp account, not of its dataset.",
        "account": "This is the id of an ad account, not of a dataset.",
    }
    text = said.get(kind, "This id is not a dataset's.")
    return bad_value("pixel_id", text, code=f"pixel_is_{kind}")
