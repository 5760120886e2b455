"""The mail that says a profile will stop working: to the organization's owners and admins, each in their language.

Background loops have no catalogue of translations (that is the web's), so the two letters stand here whole.
"""

from typing import LiteralString

from whatrack.connections.upkeep import Ending
from whatrack.crypto import Sealer
from whatrack.db import Connection
from whatrack.tenants import emails
from whatrack.tenants.emails import Letter

ADDRESSEES: LiteralString = """
SELECT u.email, u.language, o.slug FROM memberships m JOIN users u ON u.id = m.user_id JOIN organizations o ON o.id = m.organization_id
WHERE m.organization_id = %s AND m.role IN ('owner', 'admin') AND u.disabled_at IS NULL ORDER BY u.email
"""
SUBJECTS = {
    "pt_BR": "Reconecte o perfil {name} no WhaTrack",
    "en": "Reconnect the profile {name} in WhaTrack",
}
TEXTS = {
    "pt_BR": (
        "Olá,\n\n"
        "o acesso do perfil {name} ao Meta Ads termina em {days}. Depois disso, as contas que só ele vê param de "
        "atualizar e de receber conversões. Para renovar, entre com este perfil de novo:\n\n{link}\n"
    ),
    "en": (
        "Hello,\n\n"
        "the Meta Ads access of the profile {name} ends within {days}. After that, the accounts that only it sees stop "
        "updating and receiving conversions. To renew it, log in with this profile again:\n\n{link}\n"
    ),
}
DAYS = {"pt_BR": ("1 dia", "{} dias"), "en": ("1 day", "{} days")}


async def queue(conn: Connection, sealer: Sealer, ending: Ending, address: str) -> None:
    """Owe the letters about one profile (system scope), in the transaction that marks it as told."""
    people = await (await conn.execute(ADDRESSEES, [ending.organization_id])).fetchall()
    for email, language, slug in people:
        await emails.queue(conn, sealer, letter(email, language or "pt_BR", ending, f"{address}/in/{slug}"))


def letter(to: str, language: str, ending: Ending, site: str) -> Letter:
    """One letter. site: the organization's own address, so that its profiles are on screen and not another's."""
    one, many = DAYS[language]
    days = one if ending.days == 1 else many.format(ending.days)
    text = TEXTS[language].format(name=ending.name, days=days, link=f"{site}/settings/meta")
    return Letter(to, SUBJECTS[language].format(name=ending.name), text)
