"""The commands that list what there is, and revoke a key."""

from uuid import UUID

import click

from whatrack.cli.common import as_json, find_organization, run, say
from whatrack.connections import whatsapp_numbers
from whatrack.connections.whatsapp_numbers import WhatsappNumber
from whatrack.db import Database
from whatrack.tenants import api_keys, organizations
from whatrack.tenants.api_keys import ApiKey
from whatrack.tenants.organizations import Organization


@click.command("list")
@as_json
def orgs(as_json: bool) -> None:
    """Every organization."""

    async def listed(db: Database) -> list[Organization]:
        async with db.system() as conn:
            return await organizations.everyone(conn)

    found = run(listed)
    data = [
        {"id": str(each.id), "slug": each.slug, "name": each.name, "timezone": each.timezone, "base_currency": each.base_currency}
        for each in found
    ]  # fmt: skip
    lines = [f"{each.slug}  {each.name}  {each.timezone}  {each.base_currency}" for each in found]
    say(as_json, {"data": data}, "\n".join(lines) or "There is no organization.")


@click.command("list")
@click.option("--org", "slug", required=True, help="The organization's slug.")
@as_json
def numbers(slug: str, as_json: bool) -> None:
    """The WhatsApp numbers that are live for an organization."""

    async def listed(db: Database) -> list[WhatsappNumber]:
        organization = await find_organization(db, slug)
        async with db.tenant(organization.id) as conn:
            return await whatsapp_numbers.of_organization(conn, organization.id)

    found = run(listed)
    data = [
        {"phone_number_id": each.phone_number_id, "waba_id": each.waba_id, "display_phone": each.display_phone}
        for each in found
    ]  # fmt: skip
    lines = [f"{each.phone_number_id}  {each.waba_id}  {each.display_phone}" for each in found]
    say(as_json, {"data": data}, "\n".join(lines) or "No number is live.")


@click.command("list")
@click.option("--org", "slug", help="The organization's slug; without it, the operator's keys.")
@as_json
def keys(slug: str | None, as_json: bool) -> None:
    """The API keys that work. The keys themselves are kept nowhere."""

    async def listed(db: Database) -> list[ApiKey]:
        organization_id = (await find_organization(db, slug)).id if slug else None
        async with db.installation() as conn:
            return await api_keys.everyone(conn, organization_id)

    found = run(listed)
    data = [
        {"id": str(each.id), "name": each.name, "role": each.role, "created_at": each.created_at.isoformat(),
         "used_at": each.used_at.isoformat() if each.used_at else None}
        for each in found
    ]  # fmt: skip
    lines = [f"{each.id}  {each.role}  {each.name or '-'}  used {each.used_at or 'never'}" for each in found]
    say(as_json, {"data": data}, "\n".join(lines) or "There is no key.")


@click.command("revoke")
@click.option("--id", "key_id", type=click.UUID, required=True, help="As `api-key list` shows it.")
@as_json
def revoke(key_id: UUID, as_json: bool) -> None:
    """Let a key work no longer, at once."""

    async def revoked(db: Database) -> None:
        async with db.system() as conn:
            owner = await api_keys.owner_of(conn, key_id)
            await api_keys.revoke(conn, owner, "system", key_id)

    run(revoked)
    say(as_json, {"id": str(key_id)}, f"The key {key_id} works no longer.")
