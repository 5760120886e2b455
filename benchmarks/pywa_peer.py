"""Peer: pywa_async on FastAPI, checking signatures and handling messages. It answers before it handles, and stores nothing."""

import os
from typing import Any

import fastapi
from pywa_async.client import WhatsApp
from pywa_async.types.message import Message

PATH = os.environ.get("PEER_PATH", "/webhook")

app = fastapi.FastAPI()
whatsapp: Any = WhatsApp(
    phone_id=os.environ["PEER_NUMBER"],
    token="unused",
    server=app,
    webhook_endpoint=PATH,
    verify_token="bench",
    app_secret=os.environ["PEER_SECRET"],
    validate_updates=True,
)
handled = {"messages": 0, "from_ads": 0}


async def take(_client: WhatsApp, message: Message) -> None:
    """What a user of pywa would write: here, only counting."""
    handled["messages"] += 1
    handled["from_ads"] += message.referral is not None


whatsapp.on_message(take)  # as a decorator it is typed for the sync client


@app.get("/handled")
async def how_many() -> dict[str, int]:
    """How many messages were handled, so that the run can check that they were."""
    return handled
