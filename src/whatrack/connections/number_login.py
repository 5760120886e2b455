"""How a token proves that a WhatsApp number is the organization's: it reads the number on Graph, and subscribes our app.

Here is the network; whatsapp_numbers.py keeps what was found. Meta names no WhatsApp account on a number, so the number is
looked up in those that the token may manage (debug_token's granular scopes).
Source: Meta, "Onboarding customers as a tech provider"
<https://developers.facebook.com/documentation/business-messaging/whatsapp/embedded-signup/onboarding-customers-as-a-tech-provider>,
read 2026-11.
"""

import re

import msgspec

from whatrack.connections import datasets, login
from whatrack.connections.datasets import MANAGES_WHATSAPP
from whatrack.connections.keys import Held, Keys, digest
from whatrack.connections.login import TOKEN_CHARS, moment
from whatrack.connections.whatsapp_numbers import NumberLogin
from whatrack.errors import bad_value
from whatrack.meta import oauth
from whatrack.meta.calls import Token
from whatrack.meta.errors import BadRequest, GraphError, MissingPermission, NotVisible, TokenDead
from whatrack.meta.graph import Graph
from whatrack.meta.oauth import TokenFacts

MOST_WABAS = 50
_ID = re.compile(r"[0-9]{5,32}", re.ASCII)


class _Number(msgspec.Struct, frozen=True):
    id: str
    display_phone_number: str = ""
    verified_name: str | None = None
    quality_rating: str | None = None


async def prove(
    graph: Graph, keys: Keys, value: str, phone_number_id: str, waba_id: str | None
) -> NumberLogin:
    """What this token says of this number; the number's webhooks come to our app from now on.

    422 for a token that is dead, may not manage WhatsApp, or does not see the number; GraphError for trouble of Meta's.
    waba_id: where the token does not name the WhatsApp accounts it is for.
    """
    if not value.isascii() or not value.isprintable() or " " in value or not 20 <= len(value) <= TOKEN_CHARS:
        raise bad_value("token", "This is no access token.", code="token_malformed")
    for name, each in (("phone_number_id", phone_number_id), ("waba_id", waba_id)):
        if each is not None and not _ID.fullmatch(each):
            raise bad_value(name, "An id of Meta's is digits alone.", code="id_malformed")
    try:
        token = await login.proved(graph, keys, value)
    except TokenDead as error:
        raise bad_value("token", "Meta says that this token does not work.", code=error.reason) from None
    facts = await oauth.inspect(graph, value, token)
    if (dead := facts.dead()) is not None:
        raise bad_value("token", "Meta says that this token does not work.", code=dead.reason)
    if MANAGES_WHATSAPP not in facts.scopes:
        raise bad_value(
            "token",
            f"This token lacks the permission {MANAGES_WHATSAPP}.",
            code="whatsapp_permission_missing",
        )
    found_in, number = await _find(graph, token, facts, phone_number_id, waba_id)
    await graph.post(f"{found_in}/subscribed_apps", token, dict, tries=3)
    dataset_id, dataset_reason = await _dataset(graph, token, found_in)
    return NumberLogin(
        phone_number_id=number.id,
        waba_id=found_in,
        display_phone=number.display_phone_number.replace("\0", "")[:40] or number.id,
        verified_name=(number.verified_name or "").replace("\0", "")[:200] or None,
        quality=number.quality_rating,
        sealed=keys.seal(value),
        app_id=facts.app_id,
        proof=digest(token.secret) if token.secret else None,
        expires_at=moment(facts.expires_at),
        dataset_id=dataset_id,
        dataset_reason=dataset_reason,
    )


async def _find(
    graph: Graph, token: Token, facts: TokenFacts, phone_number_id: str, waba_id: str | None
) -> tuple[str, _Number]:
    """(WhatsApp account, number)."""
    wabas = [waba_id] if waba_id else facts.targets(MANAGES_WHATSAPP)
    if not wabas:
        raise bad_value(
            "waba_id",
            "The token does not say which WhatsApp accounts it is for: fill in the id.",
            code="waba_needed",
        )
    params = {"fields": "id,display_phone_number,verified_name,quality_rating", "limit": 100}
    for each in wabas[:MOST_WABAS]:
        try:
            numbers = await graph.every(f"{each}/phone_numbers", token, _Number, params=params, most=20)
        except (NotVisible, MissingPermission, BadRequest):
            continue
        found = next((number for number in numbers if number.id == phone_number_id), None)
        if found is not None:
            return each, found
    raise bad_value(
        "phone_number_id", "This token does not see a number with this id.", code="number_not_visible"
    )


async def _dataset(graph: Graph, token: Token, waba_id: str) -> tuple[str | None, str | None]:
    """(dataset, None), or (None, why there is none): a number is live without it."""
    try:
        return await datasets.create(graph, token, waba_id), None
    except MissingPermission:
        return None, "events_permission_missing"
    except GraphError as error:
        return None, error.reason


async def check(graph: Graph, keys: Keys, held: Held) -> tuple[str, str | None] | None:
    """How a number's token is: (status, reason); None when Meta does not say."""
    try:
        token = keys.token(held)
        facts = await oauth.inspect(graph, token.value, token)
    except TokenDead as error:
        return "EXPIRED", error.reason
    except GraphError:
        return None
    if (dead := facts.dead()) is not None:
        return "EXPIRED", dead.reason
    if MANAGES_WHATSAPP not in facts.scopes:
        return "INVALID_SCOPES", "whatsapp_permission_missing"
    return "ACTIVE", None
