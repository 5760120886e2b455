"""WhatsApp Cloud API webhook bodies, decoded so that one bad part never takes its neighbours with it.

The envelope is typed; changes, messages and statuses inside stay raw until each is decoded by itself. Whatever fails
is decoded once more leniently (lone surrogates and NUL become U+FFFD), because Meta passes on what phones send and
PostgreSQL's text takes neither. Unknown fields and types are no error.
Source: Meta, "Webhooks reference: messages" and the pages of each field,
https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/ (read 2026-11).
"""

import json
import re
from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec

MAX_BODY = 4 * 1024 * 1024  # Meta sends at most 3 MB ("Webhooks overview", payload size)
MAX_ID = 64  # digits of a phone number, WABA or ad id; Meta's have under 20
RAW_NULL = msgspec.Raw(b"null")

Scalar = str | int | None
T = TypeVar("T")


def is_null(raw: msgspec.Raw) -> bool:
    """Whether a raw value is absent or null."""
    return bytes(raw) == b"null"


class Metadata(msgspec.Struct, gc=False):
    """Which business number a change is about."""

    phone_number_id: Scalar = None


class RouteValue(msgspec.Struct, gc=False):
    """What routing needs of a change's value."""

    metadata: Metadata | None = None


class RouteChange(msgspec.Struct, gc=False):
    """A change, read for routing."""

    value: RouteValue | None = None


class RouteEntry(msgspec.Struct, gc=False):
    """An entry (one WABA), read for routing."""

    id: Scalar = None
    changes: list[RouteChange] = []


class RouteEnvelope(msgspec.Struct, gc=False):
    """A body, read for routing: 1 µs for an ordinary one."""

    entry: list[RouteEntry] = []


class Change(msgspec.Struct, gc=False):
    """One change; published examples of account_update lack `field`, or hold it elsewhere."""

    field: Scalar = None
    value: msgspec.Raw = RAW_NULL


class Entry(msgspec.Struct, gc=False):
    """One WABA's changes. time: unix seconds, absent on messages."""

    id: Scalar = None
    time: Scalar = None
    changes: list[msgspec.Raw] = []


class Envelope(msgspec.Struct, gc=False):
    """A whole body."""

    entry: list[msgspec.Raw] = []


class PlainEntry(msgspec.Struct, gc=False):
    """An entry of which every change is as expected."""

    id: Scalar = None
    time: Scalar = None
    changes: list[Change] = []


class PlainEnvelope(msgspec.Struct, gc=False):
    """A body down to its changes, which nearly every one is; any other is read part by part."""

    entry: list[PlainEntry] = []


class Value(msgspec.Struct, gc=False):
    """A change's value as far as this product reads it. Any mix of the lists may come together."""

    metadata: Metadata | None = None
    contacts: list[msgspec.Raw] | None = None
    messages: list[msgspec.Raw] | None = None
    statuses: list[msgspec.Raw] | None = None
    message_echoes: list[msgspec.Raw] | None = None
    history: list[msgspec.Raw] | None = None
    errors: msgspec.Raw = RAW_NULL
    user_actions: msgspec.Raw = RAW_NULL


class Profile(msgspec.Struct, gc=False):
    """A person's WhatsApp name."""

    name: str | None = None


class Person(msgspec.Struct, gc=False):
    """contacts[]: wa_id or user_id may be missing or empty."""

    profile: Profile | None = None
    wa_id: Scalar = None
    user_id: Scalar = None


class Message(msgspec.Struct, rename={"from_": "from"}, gc=False):
    """messages[] or message_echoes[]; the body of each type stays raw."""

    id: Scalar = None
    from_: Scalar = None
    to: Scalar = None
    from_user_id: Scalar = None
    to_user_id: Scalar = None
    timestamp: str | int | float | None = None
    type: Scalar = None
    group_id: Scalar = None
    referral: msgspec.Raw = RAW_NULL
    system: msgspec.Raw = RAW_NULL


class System(msgspec.Struct, gc=False):
    """messages[].system: a person's number or business-scoped id changed."""

    wa_id: Scalar = None
    new_wa_id: Scalar = None
    user_id: Scalar = None


class Status(msgspec.Struct, gc=False):
    """statuses[]: only counted."""

    status: str
    timestamp: str | int | float | None = None


class Thread(msgspec.Struct, gc=False):
    """history[].threads[]: one chat; id is the person's number."""

    id: Scalar = None
    messages: list[msgspec.Raw] = []


class HistoryChunk(msgspec.Struct, gc=False):
    """history[]: a part of the chats of up to 180 days before the number was connected."""

    threads: list[msgspec.Raw] = []


class Welcome(msgspec.Struct, gc=False):
    """The greeting configured on the ad."""

    text: str | None = None


class Referral(msgspec.Struct, gc=False):
    """messages[].referral: the tap on an ad or post that this message came from.

    source_id: the ad's id when source_type is "ad", a post's id when it is "post". ctwa_clid: absent for ads placed
    in WhatsApp Status, "" on some numbers; opaque and case-sensitive, never changed by us.
    """

    source_id: Scalar = None
    source_type: str | None = None
    source_url: str | None = None
    ctwa_clid: Scalar = None
    headline: str | None = None
    body: str | None = None
    media_type: str | None = None
    image_url: str | None = None
    video_url: str | None = None
    thumbnail_url: str | None = None
    welcome_message: Welcome | None = None


class Undecodable(ValueError):
    """Bytes that are not JSON (is_json False), or not of the expected shape; the text says where, without the values."""

    def __init__(self, text: str, *, is_json: bool) -> None:
        super().__init__(text)
        self.is_json = is_json


_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}
_LONELY = re.compile("[\ud800-\udfff\x00]")


def decode(kind: type[T], body: bytes) -> T:
    """A whole body as `kind`; leniently when it does not decode as it stands. Raises Undecodable."""
    return _leniently(kind, body) if b"\\u0000" in body else decode_part(kind, body)


def decode_part(kind: type[T], raw: msgspec.Raw | bytes) -> T:
    """A part of a body that `decode` has read (so it holds no NUL), decoded by itself. Raises Undecodable."""
    try:
        result: T = _decoder(kind).decode(raw)
    except (ValueError, RecursionError):  # msgspec's errors and UnicodeDecodeError are ValueErrors
        return _leniently(kind, bytes(raw))
    return result


def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.json.Decoder(kind)
    return decoder


def _leniently(kind: type[T], raw: bytes) -> T:
    try:
        result: T = _decoder(kind).decode(clean(raw))
    except msgspec.ValidationError as error:
        raise Undecodable(str(error), is_json=True) from None
    except RecursionError:
        raise Undecodable("nested too deeply", is_json=True) from None
    except ValueError as error:
        raise Undecodable(type(error).__name__, is_json=False) from None
    return result


def clean(raw: bytes) -> bytes:
    """The same JSON with what PostgreSQL's text cannot hold replaced: lone surrogates, NUL, invalid UTF-8.

    Raises ValueError or RecursionError when it is not JSON at all.
    """
    return msgspec.json.encode(_cleaned(json.loads(raw.decode("utf-8", "replace"))))


def _cleaned(value: Any) -> Any:
    match value:
        case str():
            return _LONELY.sub("\ufffd", value)
        case list():
            return [_cleaned(item) for item in value]
        case dict():
            return {_cleaned(key): _cleaned(item) for key, item in value.items()}
        case float() if value != value or value in (float("inf"), float("-inf")):
            return None
        case _:
            return value


def salvage(kind: type[T], raw: msgspec.Raw) -> tuple[T, list[str]]:
    """A part as far as it can be read, and the names of the fields left out because they are of another type.

    A click must not be lost to an odd headline. Raises Undecodable when the part is no object, or lacks a required field.
    """
    try:
        return decode_part(kind, raw), []
    except Undecodable as error:
        whole = error
    try:
        given = decode_part(dict[str, msgspec.Raw], raw)
    except Undecodable:
        raise whole from None
    read: dict[str, Any] = {}
    left_out = []
    for field in msgspec.structs.fields(kind):  # type: ignore[arg-type] # kind is one of the structs above
        if field.encode_name in given:
            try:
                read[field.name] = decode_part(field.type, given[field.encode_name])
            except Undecodable:
                left_out.append(field.encode_name)
    try:
        return kind(**read), left_out
    except TypeError:
        raise whole from None


def changes(body: bytes) -> Iterator[tuple[Entry | PlainEntry, Change | None]]:
    """Every change of a body, with its entry; None in place of what is no change at all. Raises Undecodable."""
    try:
        entries = [] if b"\\u0000" in body else _plain.decode(body).entry
    except (ValueError, RecursionError):
        entries = []
    for entry in entries:
        for change in entry.changes:
            yield entry, change
    if not entries:
        yield from _changes_part_by_part(body)


_plain = msgspec.json.Decoder(PlainEnvelope)


def _changes_part_by_part(body: bytes) -> Iterator[tuple[Entry, Change | None]]:
    for raw_entry in decode(Envelope, body).entry:
        try:
            entry, left_out = salvage(Entry, raw_entry)
        except Undecodable:
            yield Entry(), None
            continue
        if "changes" in left_out:
            yield entry, None
        for raw in entry.changes:
            yield entry, _change(raw)


def _change(raw: msgspec.Raw) -> Change | None:
    try:
        return salvage(Change, raw)[0]
    except Undecodable:
        return None


def read_referral(raw: msgspec.Raw) -> Referral | None:
    """A message's referral; None for none."""
    try:
        return None if is_null(raw) else salvage(Referral, raw)[0]
    except Undecodable:
        return None


def present(value: Scalar) -> str | None:
    """A scalar as text, with null, "" and blanks as absent: Meta omits ids, or sends them empty."""
    if value is None:
        return None
    text = value if isinstance(value, str) else str(value)
    return text.strip() or None


_envelope = msgspec.json.Decoder(RouteEnvelope)


def quick_routes(body: bytes) -> set[str] | None:
    """As `routes`, in a microsecond; None when the body must be read part by part to tell."""
    try:
        envelope = _envelope.decode(body)
    except (ValueError, RecursionError):
        return None
    return {
        route_of(entry.id, change.value.metadata if change.value else None)
        for entry in envelope.entry
        for change in entry.changes
    }


def routes(body: bytes) -> set[str]:
    """Every route a body needs: a phone_number_id, or 'waba:' and the WABA's id for a change without a number.

    A change that cannot be read, or names no id that a number of ours can have, gives ''. Raises Undecodable.
    """
    return {route_of(entry.id, metadata_of(change)) if change else "" for entry, change in changes(body)}


def metadata_of(change: Change) -> Metadata | None:
    """Which number a change is about; None when it does not say so in the usual way."""
    try:
        return decode_part(RouteValue, change.value).metadata
    except Undecodable:
        return None


def route_of(waba_id: Scalar, metadata: Metadata | None) -> str:
    """The route of one change of one entry."""
    number = present(metadata.phone_number_id) if metadata else None
    if number:
        return number if _is_id(number) else ""
    waba = present(waba_id)
    return f"waba:{waba}" if waba and _is_id(waba) else ""


def _is_id(text: str) -> bool:
    return len(text) <= MAX_ID and text.isascii() and text.isdigit()
