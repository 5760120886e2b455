"""Who a message is from: one contact by any of the ids it carries. Pure.

A person has a business-scoped user id (BSUID), a phone number, or both, and either may be missing from a message.
Two ids in one message belong to one person; when they were two contacts until now, those become one. Ids are looked
at in this order: user id, number, and what a system message says they become. Old ids keep leading to the person.
Source: Meta, "Business-scoped user IDs", https://developers.facebook.com/documentation/business-messaging/whatsapp/business-scoped-user-ids (read 2026-11).
"""

import unicodedata
from collections.abc import Callable
from functools import lru_cache
from uuid import UUID

import msgspec

from whatrack.inbox.reading import Incoming, bounded
from whatrack.units import phone_key

IdentityKey = tuple[UUID, str]  # organization, key

MAX_TERM = 40
MAX_TERMS = 16


class Contact(msgspec.Struct, gc=False):
    """A person as one organization knows them. is_new, changed: what has still to be written."""

    organization_id: UUID
    id: UUID
    name: str | None
    wa_id: str | None
    user_id: str | None
    merged_into: UUID | None = None
    is_new: bool = False
    changed: bool = False


class Merge(msgspec.Struct, frozen=True):
    """Two contacts turned out to be one person."""

    organization_id: UUID
    loser_id: UUID
    survivor_id: UUID


@lru_cache(maxsize=4096)  # asked twice for each message
def phone_identity(phone: str) -> str | None:
    """The identity key of a phone number, the same with and without Brazil's ninth digit."""
    key = phone_key(phone)
    return bounded(f"phone:{key}") if key else None


def identity_keys(message: Incoming) -> list[str]:
    """The identity keys a message carries, strongest first."""
    keys = _keys(message.user_id, message.wa_id)
    if message.new_user_id or message.new_wa_id:
        keys = [*keys, *_keys(message.new_user_id, message.new_wa_id)]
        return list(dict.fromkeys(keys))
    return keys


def _keys(user_id: str | None, phone: str | None) -> list[str]:
    keys = [bounded(f"bsuid:{user_id}")] if user_id else []
    if phone and (key := phone_identity(phone)):
        keys.append(key)
    return keys


class People:
    """The contacts a batch is about, found by identity key; grows as messages name new people."""

    def __init__(
        self, contacts: list[Contact], identities: dict[IdentityKey, UUID], new_id: Callable[[], UUID]
    ) -> None:
        self.contacts = {contact.id: contact for contact in contacts}
        self.merges: list[Merge] = []
        self._ids = identities
        self._written: dict[
            IdentityKey, UUID | None
        ] = {}  # of the keys that lead elsewhere since: where to, at first
        self._new_id = new_id

    def person(self, message: Incoming) -> tuple[Contact, list[Merge]]:
        """The contact a message is from, made when nobody is known by its ids; and the merges it proved."""
        organization_id, keys = message.organization_id, identity_keys(message)
        known = [self._ids.get((organization_id, key)) for key in keys]
        found = list(dict.fromkeys(each for each in known if each))
        if message.user_id and message.origin != "system":
            found = [contact_id for contact_id in found if not self._moved_away(contact_id, message)]
        contact = self.contacts[found[0]] if found else self._create(organization_id)
        merges = [self._merge(contact, self.contacts[loser_id]) for loser_id in found[1:]]
        self.learn(contact, keys)
        _remember(contact, message)
        return contact, merges

    def _moved_away(self, contact_id: UUID, message: Incoming) -> bool:
        """Whether the contact has left the message's number, and its user id is not theirs: the number went to somebody else."""
        contact = self.contacts[contact_id]
        if contact.user_id is None or phone_key(contact.wa_id or "") == phone_key(message.wa_id or ""):
            return False
        return self._ids.get((message.organization_id, bounded(f"bsuid:{message.user_id}"))) != contact_id

    def learn(self, contact: Contact, keys: list[str]) -> None:
        """From now on these identity keys lead to this contact."""
        for key in keys:
            self._lead((contact.organization_id, key), contact.id)

    def new_identities(self) -> dict[IdentityKey, UUID]:
        """The identity keys that have no row yet, and the contact each leads to."""
        return {key: self._ids[key] for key, written in self._written.items() if written is None}

    def moved_identities(self) -> dict[IdentityKey, UUID]:
        """The identity keys whose row leads elsewhere by now, and the contact each leads to."""
        moved = {key: (written, self._ids[key]) for key, written in self._written.items() if written}
        return {key: now for key, (written, now) in moved.items() if now != written}

    def _lead(self, key: IdentityKey, contact_id: UUID) -> None:
        before = self._ids.get(key)
        if before is not contact_id:
            self._written.setdefault(key, before)
            self._ids[key] = contact_id

    def _create(self, organization_id: UUID) -> Contact:
        contact = Contact(organization_id, self._new_id(), None, None, None, is_new=True)
        self.contacts[contact.id] = contact
        return contact

    def _merge(self, survivor: Contact, loser: Contact) -> Merge:
        loser.merged_into, loser.changed = survivor.id, True
        _inherit(survivor, loser)
        for key in [key for key, contact_id in self._ids.items() if contact_id == loser.id]:
            self._lead(key, survivor.id)
        merge = Merge(survivor.organization_id, loser.id, survivor.id)
        self.merges.append(merge)
        return merge


def _inherit(survivor: Contact, loser: Contact) -> None:
    """A survivor gets the name and ids that only the other contact had; what the message says comes after."""
    for field in ("name", "wa_id", "user_id"):
        if getattr(survivor, field) is None and getattr(loser, field) is not None:
            setattr(survivor, field, getattr(loser, field))
            survivor.changed = True


def _remember(contact: Contact, message: Incoming) -> None:
    """Keep the latest name and ids; a number written with or without the ninth digit is not a change."""
    wa_id = message.new_wa_id or message.wa_id
    user_id = message.new_user_id or message.user_id
    if message.name and message.name != contact.name:
        contact.name, contact.changed = message.name, True
    if wa_id and (contact.wa_id is None or phone_key(wa_id) != phone_key(contact.wa_id)):
        contact.wa_id, contact.changed = wa_id, True
    if user_id and user_id != contact.user_id:
        contact.user_id, contact.changed = user_id, True


def search_terms(contact: Contact) -> set[str]:
    """What a prefix search finds this contact by: the words of the name, and the phone from several starts.

    A phone is typed with or without country code, area code and Brazil's ninth digit.
    """
    terms = set(words(contact.name or "")[:MAX_TERMS])
    digits = phone_key(contact.wa_id or "") or ""
    if digits.startswith("55") and len(digits) in (12, 13):
        terms.update((digits, digits[2:], digits[4:], digits[-8:]))
    else:
        terms.update((digits, digits[-9:], digits[-8:]))
    return {term[:MAX_TERM] for term in terms if term}


def words(text: str) -> list[str]:
    """The words of a text, lower case, without accents or punctuation: how both sides of a search are written."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    kept = "".join(char if char.isalnum() else " " for char in plain if not unicodedata.combining(char))
    return kept.split()
