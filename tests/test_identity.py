"""Who a message is from: the ids it carries, contacts that turn out to be one, and what is remembered of them."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from tests.support import NOON, body, change, make_shop, message, process, rows
from whatrack.attribution.decide import creditable
from whatrack.contacts.identity import Contact, People, identity_keys, phone_identity, search_terms, words
from whatrack.db import Database
from whatrack.inbox.reading import Incoming
from whatrack.meta.webhook import Referral
from whatrack.units import new_id

ORGANIZATION = UUID(int=1)
OTHER = UUID(int=2)


def incoming(**fields: Any) -> Incoming:
    """A message from somebody; organization, ids and name as given."""
    usual: dict[str, Any] = dict.fromkeys(Incoming.__struct_fields__)
    usual |= {
        "organization_id": ORGANIZATION,
        "phone_number_id": "1",
        "wamid": "w",
        "origin": "inbound",
        "raw": "{}",
    }
    return Incoming(
        **(usual | {"sent_at": NOON, "time_is_ours": False, "from_business": False, "type": "text"} | fields)
    )


def known(*contacts: tuple[Contact, list[str]]) -> People:
    """People who are in the database already, each with the keys that lead to them."""
    identities = {(contact.organization_id, key): contact.id for contact, keys in contacts for key in keys}
    return People([contact for contact, _ in contacts], identities, new_id)


def contact(name: str | None = None, wa_id: str | None = None, user_id: str | None = None) -> Contact:
    return Contact(ORGANIZATION, new_id(), name, wa_id, user_id)


@pytest.mark.parametrize(
    ("fields", "keys"),
    [
        pytest.param({"wa_id": "16505551234"}, ["phone:16505551234"], id="number"),
        pytest.param({"user_id": "BR.1"}, ["bsuid:BR.1"], id="user id"),
        pytest.param(
            {"wa_id": "16505551234", "user_id": "US.1"},
            ["bsuid:US.1", "phone:16505551234"],
            id="user id first",
        ),
        pytest.param({"wa_id": "551187654321"}, ["phone:5511987654321"], id="ninth digit added"),
        pytest.param({"wa_id": "+55 (11) 98765-4321"}, ["phone:5511987654321"], id="as people write it"),
        pytest.param({"wa_id": "1", "new_wa_id": "2"}, ["phone:1", "phone:2"], id="changed number"),
        pytest.param({"wa_id": "1", "new_user_id": "US.2"}, ["phone:1", "bsuid:US.2"], id="changed user id"),
        pytest.param(
            {"wa_id": "551187654321", "new_wa_id": "5511987654321"}, ["phone:5511987654321"], id="no change"
        ),
        pytest.param({"wa_id": "nobody"}, [], id="no digit"),
        pytest.param({}, [], id="nobody"),
    ],
)
def test_a_message_carries_identity_keys_strongest_first(fields: dict[str, str], keys: list[str]):
    assert identity_keys(incoming(**fields)) == keys


def test_an_id_too_long_for_an_index_is_kept_by_its_hash():
    (key,) = identity_keys(incoming(user_id="x" * 5000))

    assert key.startswith("sha256:")
    assert len(key) <= 220


def test_a_stranger_becomes_a_new_contact_and_is_known_from_then_on():
    people = known()

    first, _ = people.person(incoming(wa_id="551187654321", name="Ana"))
    again, merges = people.person(incoming(wa_id="5511987654321"))

    assert again is first
    assert (first.is_new, first.name, first.wa_id, merges) == (True, "Ana", "551187654321", [])
    assert people.new_identities() == {(ORGANIZATION, "phone:5511987654321"): first.id}


def test_the_same_ids_in_another_organization_are_another_person():
    people = known()

    ours, _ = people.person(incoming(wa_id="1"))
    theirs, _ = people.person(incoming(wa_id="1", organization_id=OTHER))

    assert ours.id != theirs.id
    assert theirs.organization_id == OTHER


def test_a_message_with_a_second_id_teaches_it():
    ana = contact("Ana", wa_id="1")
    people = known((ana, ["phone:1"]))

    people.person(incoming(wa_id="1", user_id="US.1"))
    found, _ = people.person(incoming(user_id="US.1"))

    assert found is ana
    assert ana.user_id == "US.1"


def test_two_contacts_that_one_message_names_become_one_found_by_the_user_id():
    by_number, by_user_id = contact(wa_id="1"), contact(user_id="US.1")
    people = known((by_number, ["phone:1", "phone:old"]), (by_user_id, ["bsuid:US.1"]))

    found, merges = people.person(incoming(wa_id="1", user_id="US.1"))

    assert found is by_user_id
    assert [(merge.loser_id, merge.survivor_id) for merge in merges] == [(by_number.id, by_user_id.id)]
    assert by_number.merged_into == by_user_id.id
    assert people.person(incoming(wa_id="1"))[0] is by_user_id


def test_three_contacts_become_one_at_once():
    contacts = [contact(wa_id="1"), contact(user_id="US.1"), contact(wa_id="2")]
    people = known(*zip(contacts, (["phone:1"], ["bsuid:US.1"], ["phone:2"]), strict=True))

    found, merges = people.person(incoming(wa_id="1", user_id="US.1", new_wa_id="2"))

    assert found is contacts[1]
    assert {merge.loser_id for merge in merges} == {contacts[0].id, contacts[2].id}
    assert (found.wa_id, found.user_id) == ("2", "US.1")


def test_a_survivor_of_one_merge_may_lose_the_next_and_every_id_follows():
    people = known(
        (contact(wa_id="1"), ["phone:1"]),
        (contact(wa_id="2"), ["phone:2"]),
        (last := contact(), ["bsuid:US.1"]),
    )

    people.person(incoming(wa_id="1", new_wa_id="2"))
    people.person(incoming(user_id="US.1", wa_id="2"))

    assert {people.person(incoming(wa_id=each))[0].id for each in ("1", "2")} == {last.id}


def test_a_survivor_keeps_the_name_and_number_that_only_the_other_had():
    by_number, by_user_id = contact("Ana", wa_id="1"), contact(user_id="US.1")
    people = known((by_number, ["phone:1"]), (by_user_id, ["bsuid:US.1"]))

    found, _ = people.person(incoming(user_id="US.1", wa_id="1"))

    assert (found.id, found.name, found.wa_id, found.changed) == (by_user_id.id, "Ana", "1", True)


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        pytest.param({"name": "Ana Lima"}, {"name": "Ana Lima", "changed": True}, id="new name"),
        pytest.param({"name": None}, {"name": "Ana", "changed": False}, id="no name"),
        pytest.param(
            {"wa_id": "551187654321"}, {"wa_id": "5511987654321", "changed": False}, id="without ninth digit"
        ),
        pytest.param(
            {"new_wa_id": "16505550000"}, {"wa_id": "16505550000", "changed": True}, id="number changed"
        ),
        pytest.param({"user_id": "BR.2"}, {"user_id": "BR.2", "changed": True}, id="another user id"),
        pytest.param({"new_user_id": "BR.3"}, {"user_id": "BR.3", "changed": True}, id="user id changed"),
    ],
)
def test_the_latest_name_and_ids_are_remembered(said: dict[str, Any], kept: dict[str, Any]):
    ana = contact("Ana", "5511987654321", "BR.1")
    people = known((ana, ["phone:5511987654321", "bsuid:BR.1"]))

    people.person(incoming(**({"wa_id": "5511987654321"} | said)))

    assert {field: getattr(ana, field) for field in kept} == kept


@pytest.mark.parametrize(
    ("phone", "typed"),
    [
        pytest.param(
            "5511987654321", ["5511987654321", "11987654321", "987654321", "87654321"], id="Brazilian mobile"
        ),
        pytest.param(
            "551187654321", ["5511987654321", "11987654321", "987654321", "87654321"], id="old mobile"
        ),
        pytest.param("551133334444", ["551133334444", "1133334444", "33334444"], id="landline"),
        pytest.param("16505551234", ["16505551234", "505551234", "05551234"], id="elsewhere"),
    ],
)
def test_a_phone_is_found_however_it_is_typed(phone: str, typed: list[str]):
    assert set(typed) <= search_terms(contact(wa_id=phone))


def test_a_name_is_found_by_its_words_without_accents_or_case():
    terms = search_terms(contact("José D'Ávila-LIMA 🌱"))

    assert terms == {"jose", "d", "avila", "lima"}


def test_search_terms_are_bounded():
    terms = search_terms(contact(" ".join(f"nome{place}" + "x" * 100 for place in range(1000))))

    assert len(terms) == 16
    assert max(map(len, terms)) <= 40


@pytest.mark.parametrize("text", ["", "  ", "🌱", "--"], ids=["empty", "blank", "emoji", "marks"])
def test_a_text_without_words_has_none(text: str):
    assert words(text) == []


def test_a_phone_without_digits_is_no_identity():
    assert phone_identity("+") is None


async def test_r7_variants_of_a_number_and_user_ids_lead_to_one_person_never_an_arbitrary_one(db: Database):
    """R7: elsewhere ninth-digit variants and BSUIDs were not handled, and whichever lead came first was taken."""
    shop = await make_shop(db)
    one_minute_later = NOON + timedelta(minutes=1)

    await process(
        db,
        body(change(shop.number, message("551187654321"), message("5511987654321", user_id="BR.1"))),
        body(change(shop.number, message(None, user_id="BR.1", at=one_minute_later))),
        body(change(shop.number, message("551133334444"), message("5511933334444"))),
    )

    people = await rows(
        db, "SELECT contact_id, array_agg(key ORDER BY key) AS keys FROM contact_identities GROUP BY 1"
    )
    assert sorted(row["keys"] for row in people) == [
        ["bsuid:BR.1", "phone:5511987654321"],
        ["phone:551133334444"],
        ["phone:5511933334444"],
    ]
    per_person = await rows(db, "SELECT count(*) AS tickets FROM tickets GROUP BY contact_id")
    assert [row["tickets"] for row in per_person] == [1, 1, 1]


async def test_a_contact_made_and_merged_in_one_batch_leads_on_to_its_survivor(db: Database):
    shop = await make_shop(db)

    await process(
        db,
        body(
            change(
                shop.number,
                message("16505550001"),
                message(None, user_id="US.1"),
                message("16505550001", user_id="US.1", at=NOON.replace(minute=1)),
            )
        ),
    )

    contacts = {
        row["id"]: row["merged_into"] for row in await rows(db, "SELECT id, merged_into FROM contacts")
    }
    (survivor,) = (contact_id for contact_id, merged_into in contacts.items() if merged_into is None)
    assert list(filter(None, contacts.values())) == [survivor]
    leads_to = await rows(db, "SELECT DISTINCT contact_id FROM contact_identities")
    assert [row["contact_id"] for row in leads_to] == [survivor]


@pytest.mark.parametrize(
    ("fields", "asked"),
    [
        pytest.param({"user_id": "BR.1", "wa_id": "16505551111"}, "", id="both ids are theirs"),
        pytest.param({"user_id": "BR.1"}, "", id="one id"),
        pytest.param({"user_id": "BR.9", "wa_id": "16505559999"}, "", id="nobody yet"),
        pytest.param({"user_id": "BR.1", "referral": Referral()}, "1", id="came from an ad or post"),
        pytest.param({"user_id": "BR.1", "wa_id": "16505552222"}, "12", id="two people turn out to be one"),
        pytest.param({"user_id": "BR.1", "wa_id": "16505559999"}, "1", id="a number of theirs that may be another's by then"),
        pytest.param({"user_id": "BR.9", "wa_id": "16505552222"}, "2", id="a user id that may be another's by then"),
        pytest.param({"wa_id": "16505551111", "new_wa_id": "16505552222"}, "12", id="takes over a number"),
    ],
)  # fmt: skip
def test_credit_is_loaded_of_whom_a_decision_may_ask_about(fields: dict[str, Any], asked: str):
    people = {each: new_id() for each in "12"}
    identities = {(ORGANIZATION, f"bsuid:BR.{each}"): people[each] for each in people}
    identities |= {(ORGANIZATION, f"phone:1650555{each * 4}"): people[each] for each in people}

    assert creditable([incoming(**fields)], identities) == {people[each] for each in asked}
