"""What goes wrong with a person, a dataset or yesterday's figures, and stays so: logins end, roles and links go, numbers change.

Unlike a fault, which concerns requests, each of these changes the world.
"""

from datetime import date

from whatrack.errors import NotFound, bad_value
from whatrack.sandbox.oauth import break_tokens
from whatrack.sandbox.state import AdAccount, Dataset, Person, Revision, Waba, World

# What may happen to a person's tokens → the subcode of 190 they then answer.
BREAKS = {
    "expired": 463,
    "password_changed": 460,
    "logged_out": 467,
    "checkpoint": 459,
    "unconfirmed": 464,
    "app_removed": 458,
}


def person_by_id(world: World, person_id: str) -> Person:
    """The person; NotFound without them."""
    node = world.nodes.get(person_id)
    if not isinstance(node, Person):
        raise NotFound(f"There is no person {person_id}.")
    return node


def break_login(world: World, person_id: str, how: str) -> int:
    """End a person's logins; how many tokens stopped working. A new login works."""
    if how not in BREAKS:
        raise bad_value("how", f"There is no {how!r}: choose of {', '.join(BREAKS)}.")
    person = person_by_id(world, person_id)
    if how == "app_removed":
        for (_, owner), grants in world.grants.items():
            if owner == person.id:
                grants.clear()
    return break_tokens(world, person, BREAKS[how])


def revoke_permission(world: World, person_id: str, permission: str, status: str = "declined") -> None:
    """Take one permission from all apps. status: declined or expired, as /me/permissions then says."""
    if status not in ("declined", "expired"):
        raise bad_value("status", "A permission is declined or expired.")
    person = person_by_id(world, person_id)
    found = [
        grants for (_, owner), grants in world.grants.items() if owner == person.id and permission in grants
    ]
    if not found:
        raise bad_value("permission", f"{person.name} has not granted {permission}.")
    for grants in found:
        grants[permission] = status


def heal(world: World, person_id: str) -> None:
    """Everything of this person works again: tokens, permissions, and sessions that ran out."""
    person = person_by_id(world, person_id)
    now = world.clock()
    for token in world.tokens.values():
        if token.person_id != person.id:
            continue
        token.trouble = None
        for name in ("expires_at", "data_access_expires_at"):
            if 0 < getattr(token, name) <= now:
                setattr(token, name, now + 60 * 86_400)
        grants = world.grants.setdefault((token.app_id, person.id), {})
        grants.update(dict.fromkeys(token.scopes, "granted"))


def set_roles(world: World, person_id: str, account_ids: list[str]) -> None:
    """Which ad accounts a person sees from now on."""
    person = person_by_id(world, person_id)
    known = [each.removeprefix("act_") for each in account_ids]
    for each in known:
        if not isinstance(world.nodes.get(each), AdAccount):
            raise NotFound(f"There is no ad account {each}.")
    person.account_ids = known


def unlink_dataset(world: World, dataset_id: str) -> None:
    """Take a dataset from its WhatsApp account: its events are refused with 100/2804132 until it is linked again."""
    _dataset(world, dataset_id).waba_id = None


def link_dataset(world: World, dataset_id: str) -> None:
    """Link a WhatsApp account's own dataset to it again; 422 for a dataset that is no WhatsApp account's."""
    dataset = _dataset(world, dataset_id)
    owner = next((each for each in world.all(Waba) if each.dataset_id == dataset.id), None)
    if owner is None:
        raise bad_value("dataset_id", f"{dataset.name} is no WhatsApp account's own dataset.")
    dataset.waba_id = owner.id


def _dataset(world: World, dataset_id: str) -> Dataset:
    node = world.nodes.get(dataset_id)
    if not isinstance(node, Dataset):
        raise NotFound(f"There is no dataset {dataset_id}.")
    return node


def revise(world: World, object_id: str, since: date, until: date, percent: int | None) -> None:
    """Change the figures of an account, campaign, ad set or ad afterwards; percent None: its rows vanish."""
    node_id = object_id.removeprefix("act_")
    if node_id not in world.nodes:
        raise NotFound(f"There is no {object_id}.")
    world.revisions.append(Revision(node_id, since, until, percent))
