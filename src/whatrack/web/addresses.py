"""Where a request comes from, and where an answer may send the browser on to."""

from ipaddress import ip_address

from fastapi import Request

from whatrack.settings import Network, Settings
from whatrack.tenants.sessions import Place
from whatrack.web.cookies import session_token

MOST = 2000  # characters of an address to go on to


def client_address(request: Request) -> str:
    """The client's network address: the socket's, or what a proxy that we trust says of it (X-Forwarded-For).

    Each proxy writes behind what it was told, so the list is read from its end as far as the proxies are ours.
    """
    settings: Settings = request.app.state.settings
    address = request.client.host if request.client else ""
    said = ",".join(request.headers.getlist("x-forwarded-for")).split(",")
    for before in reversed([part.strip() for part in said if part.strip()]):
        if not _is_among(address, settings.trusted_proxies):
            break
        address = before
    return address if _parsed(address) else ""


def place(request: Request) -> Place:
    """Where somebody signs in from."""
    agent = request.headers.get("user-agent", "")
    return Place(client_address(request), agent, session_token(request))


def own_path(text: str, otherwise: str = "/") -> str:
    """An address on this site, or another one instead of what would lead away from it.

    Browsers drop tabs and line breaks, and read a backslash as a slash: none of these stands in an address of ours.
    """
    leads_away = text.startswith("//") or "\\" in text or not text.isprintable() or " " in text
    return text if text.startswith("/") and len(text) <= MOST and not leads_away else otherwise


def _is_among(address: str, networks: tuple[Network, ...]) -> bool:
    parsed = _parsed(address)
    return parsed is not None and any(parsed in network for network in networks)


def _parsed(address: str) -> object:
    try:
        found = ip_address(address)
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found
