"""What a person would read in a message of each type."""

from typing import Any

import msgspec

from whatrack.meta.webhook import Undecodable, decode_part

# Where a person finds something to read in each type: path of keys, tried in order.
_PATHS: dict[str, tuple[tuple[str, ...], ...]] = {
    "text": (("text", "body"),),
    "button": (("button", "text"),),
    "interactive": (
        ("interactive", "button_reply", "title"),
        ("interactive", "list_reply", "title"),
        ("interactive", "nfm_reply", "body"),
    ),
    "image": (("image", "caption"),),
    "video": (("video", "caption"),),
    "document": (("document", "caption"), ("document", "filename")),
    "reaction": (("reaction", "emoji"),),
    "location": (("location", "name"), ("location", "address")),
    "order": (("order", "text"),),
    "system": (("system", "body"),),
}


class _TextBody(msgspec.Struct, gc=False):
    body: str | None = None


class _TextMessage(msgspec.Struct, gc=False):
    text: _TextBody | None = None


def readable_text(kind: str, raw: bytes | msgspec.Raw) -> str | None:
    """What a person would read in this message, None when there is nothing (a sticker) or the type is unknown."""
    if kind == "text":
        try:
            message = decode_part(_TextMessage, raw)
        except Undecodable:
            return None
        return message.text.body if message.text else None
    paths = _PATHS.get(kind)
    if not paths:
        return None
    try:
        content = decode_part(dict[str, Any], raw)
    except Undecodable:
        return None
    for path in paths:
        found: Any = content
        for key in path:
            found = found.get(key) if isinstance(found, dict) else None
        if isinstance(found, str) and found:
            return found
    return None
