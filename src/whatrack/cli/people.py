"""`whatrack user …`: people made, listed and helped back in from the command line."""

import sys

import click

from whatrack.cli.common import as_json, find_organization, run, say, start
from whatrack.db import Database
from whatrack.errors import ConfigError, NotFound
from whatrack.settings import Settings
from whatrack.tenants import audit, links, members, users
from whatrack.tenants.access import RANK
from whatrack.tenants.organizations import Organization
from whatrack.tenants.passwords import Passwords, check_new
from whatrack.tenants.users import User, parse_email


@click.group()
def user() -> None:
    """People who sign in."""


@user.command("create")
@click.option("--email", required=True)
@click.option("--org", "slug", help="The slug of an organization to belong to.")
@click.option("--role", type=click.Choice(list(RANK)), help="What they may do in the organization.")
@click.option("--name", help="As others see them; their address without one.")
@click.option("--operator", is_flag=True, help="They run the installation, and see its deliveries.")
@as_json
def create(
    email: str, slug: str | None, role: str | None, name: str | None, operator: bool, as_json: bool
) -> None:
    """Make an account, with a password from a prompt or the first line of stdin. Who has one keeps their password."""
    if bool(slug) != bool(role) or not (slug or operator):
        raise click.UsageError("Give --org and --role, or --operator, or all three.")
    settings = start()
    wanted = parse_email(email)

    async def made(db: Database) -> User:
        organization = await find_organization(db, slug) if slug else None
        async with db.installation() as conn:
            person = await users.by_email(conn, wanted)
        hashed = None if person else await _hashed(settings, wanted, name or wanted.partition("@")[0])
        return await _make(db, organization, person, wanted, name, role, hashed, operator=operator)

    person = run(made)
    say(as_json, {"id": str(person.id), "email": person.email}, f"{person.email}: {person.id}")


async def _hashed(settings: Settings, email: str, name: str) -> str:
    password = _read_password()
    check_new(password, email=email, name=name)
    return await Passwords(settings.password_memory_kib).hash(password)


async def _make(
    db: Database,
    organization: Organization | None,
    person: User | None,
    email: str,
    name: str | None,
    role: str | None,
    password_hash: str | None,
    *,
    operator: bool,
) -> User:
    async with db.system() as conn:
        person = person or await users.create(
            conn, email=email, name=(name or email.partition("@")[0])[:120], password_hash=password_hash
        )
        if operator:
            await users.make_operator(conn, person.id)
        if organization and role:
            await members.put(conn, organization.id, person.id, role)
            detail = {"name": person.name, "role": role}
            await audit.record(conn, organization.id, "system", "member_added", person.actor, detail)
        return person


def _read_password() -> str:
    """Typed twice at a terminal; else the first line of stdin."""
    if sys.stdin.isatty():
        typed: str = click.prompt("Password", hide_input=True, confirmation_prompt=True)
        return typed
    line = sys.stdin.readline().rstrip("\r\n")
    if not line:
        raise ConfigError("There is no password: type it at the prompt, or write it to stdin.")
    return line


@user.command("list")
@as_json
def list_users(as_json: bool) -> None:
    """Everybody, with their organizations and roles."""

    async def listed(db: Database) -> list[users.Listed]:
        async with db.system() as conn:
            return await users.everyone(conn)

    found = run(listed)
    data = [
        {"id": str(each.id), "email": each.email, "name": each.name, "operator": each.is_operator, "roles": each.roles}
        for each in found
    ]  # fmt: skip
    lines = [
        f"{each.email}  {each.name}  {' '.join(each.roles)}{'  operator' if each.is_operator else ''}"
        for each in found
    ]
    say(as_json, {"data": data}, "\n".join(lines) or "Nobody has an account.")


@user.command("reset-link")
@click.option("--email", required=True)
@as_json
def reset_link(email: str, as_json: bool) -> None:
    """Print a link with which this person chooses another password: one hour, once."""

    async def made(db: Database) -> str:
        async with db.installation() as conn:
            person = await users.by_email(conn, email)
            if person is None:
                raise NotFound(f"Nobody has an account with the address {email}.")
            return await links.make(conn, "reset", person.id)

    settings = start()
    link = settings.address + run(made)
    say(as_json, {"link": link}, link)
