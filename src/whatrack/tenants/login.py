"""Signing in and being recognised: the password, the second step, the session, and a new password.

Each attempt is counted and committed before it is judged (throttle.py), and judged outside any transaction.
"""

from uuid import UUID

from whatrack.crypto import Sealer
from whatrack.db import Database
from whatrack.errors import Refused, bad_value
from whatrack.tenants import audit, links, members, sessions, throttle, two_step, users
from whatrack.tenants.access import Access
from whatrack.tenants.passwords import Passwords, check_new
from whatrack.tenants.sessions import Place, Visitor
from whatrack.tenants.users import Credentials


async def visitor(db: Database, token: str) -> Visitor | None:
    """Whose session this token is; None when it is unknown, ended or expired."""
    async with db.system() as conn:
        return await sessions.visitor(conn, token)


async def by_password(
    db: Database, passwords: Passwords, email: str, password: str, address: str
) -> Credentials | None:
    """The person with this address and password. None in the same time, whatever was wrong; TooMany."""
    keys = [throttle.account(email), throttle.origin(address)]
    async with db.installation() as conn:
        await throttle.attempt(conn, keys)
    async with db.installation() as conn:
        found = await users.credentials(conn, email)
    kept = found.password_hash if found else None
    if not await passwords.matches(kept, password) or found is None or kept is None:
        return None
    renewed = await passwords.hash(password) if passwords.is_stale(kept) else None
    async with db.installation() as conn:
        await throttle.forgive(conn, keys)
        if renewed:
            await users.renew_hash(conn, found.id, kept, renewed)
    return found


async def by_code(db: Database, sealer: Sealer, user_id: UUID, code: str, address: str) -> bool:
    """Whether the second step is passed; the code is used up then, and a wrong one is in the audit. TooMany."""
    keys = [throttle.second_step(user_id), throttle.origin(address)]
    async with db.system() as conn:
        await throttle.attempt(conn, keys)
        passed = await two_step.passes(conn, sealer, user_id, code)
        if passed:
            await throttle.forgive(conn, keys)
        else:
            await audit.record_everywhere(conn, user_id, "code_refused", {"address": address})
        return passed


async def enter(db: Database, user_id: UUID, place: Place) -> str:
    """Begin a session; answers its token. The one that this browser had is over, whoever's it was."""
    async with db.system() as conn:
        if place.token:
            await sessions.end_token(conn, place.token)
        token = await sessions.start(conn, user_id, agent=place.agent, address=place.address)
        await audit.record_everywhere(conn, user_id, "sign_in", {"address": place.address})
        return token


async def by_link(db: Database, token: str) -> Credentials | None:
    """Use up a sign-in link; None when it no longer works, or the person was shut out."""
    async with db.installation() as conn:
        link = await links.take(conn, "sign_in", token)
        return await users.credentials_by_id(conn, link.user_id) if link and link.user_id else None


async def confirm_password(
    db: Database, passwords: Passwords, who: Visitor, password: str, address: str
) -> None:
    """Whoever sits at a signed-in browser shows that they know the password; 422 `wrong_password`, TooMany."""
    if await by_password(db, passwords, who.user.email, password, address) is None:
        raise bad_value("current", "This is not the password.", code="wrong_password")


async def change_password(db: Database, passwords: Passwords, who: Visitor, password: str) -> None:
    """A new password for who is signed in; every other browser of theirs is signed out. 422 for a weak one."""
    check_new(password, email=who.user.email, name=who.user.name)
    hashed = await passwords.hash(password)
    async with db.system() as conn:
        await users.set_password(conn, who.user.id, hashed)
        await sessions.end_others(conn, who.user.id, who.session_id)
        await links.void(conn, "reset", who.user.id)
        await audit.record_everywhere(conn, who.user.id, "password_changed")


async def reset_link(db: Database, access: Access, user_id: UUID) -> str:
    """The path of a link with which a member chooses another password, for an admin to hand over.

    Refused `belongs_elsewhere` for who operates the installation or is in other organizations too: with the link, an
    admin of one organization would get into the others.
    """
    access.require("admin")
    async with db.tenant(access.organization_id) as conn:
        member = await members.one(conn, access.organization_id, user_id)
    access.require(member.role)
    async with db.system() as conn:
        person = await users.by_id(conn, user_id)
        if person.is_operator or await members.count_of(conn, user_id) > 1:
            raise Refused("belongs_elsewhere", "This person has more than this organization.")
        target = f"user:{user_id}"
        await audit.record(
            conn, access.organization_id, access.actor, "reset_link_made", target, {"name": person.name}
        )
        return await links.make(conn, "reset", user_id)


async def reset_password(db: Database, passwords: Passwords, token: str, password: str) -> bool:
    """A new password by a reset link, which is used up; every browser is signed out. False: it no longer works."""
    async with db.installation() as conn:
        link = await links.find(conn, "reset", token)
        person = await users.credentials_by_id(conn, link.user_id) if link and link.user_id else None
    if person is None:
        return False
    check_new(password, email=person.email, name=person.name)
    hashed = await passwords.hash(password)
    async with db.system() as conn:
        if await links.take(conn, "reset", token) is None:
            return False
        await users.set_password(conn, person.id, hashed)
        await sessions.end_others(conn, person.id, None)
        await throttle.forgive(conn, [throttle.account(person.email)])
        await audit.record_everywhere(conn, person.id, "password_reset")
        return True


async def turn_on_second_step(
    db: Database, sealer: Sealer, user_id: UUID, *, secret: str, code: str
) -> list[str] | None:
    """Ask for codes from now on; answers the recovery codes, or None when the code is not the secret's."""
    async with db.system() as conn:
        codes = await two_step.turn_on(conn, sealer, user_id, secret=secret, code=code)
        if codes:
            await audit.record_everywhere(conn, user_id, "two_step_on")
        return codes


async def turn_off_second_step(db: Database, user_id: UUID) -> None:
    """Ask for the password alone again. The caller has checked password and code."""
    async with db.system() as conn:
        await two_step.turn_off(conn, user_id)
        await audit.record_everywhere(conn, user_id, "two_step_off")


async def renew_recovery_codes(db: Database, user_id: UUID) -> list[str]:
    """Ten new recovery codes in place of the old. The caller has checked password and code."""
    async with db.system() as conn:
        codes = await two_step.fresh_codes(conn, user_id)
        await audit.record_everywhere(conn, user_id, "recovery_codes_made")
        return codes
