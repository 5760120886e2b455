"""Meta's pictures over HTTP: from Meta's hosts alone, small, and pictures by their content. Knows no database.

A link comes from outside, so it is not trusted: https, a host of Meta's, an address that is public once resolved, and
the same again for each redirect. Hosts that the installation adds (a sandbox, a test) may be private and plain http.
"""

import socket
from collections.abc import Iterable
from ipaddress import IPv6Address, ip_address
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import DefaultResolver
from typing_extensions import override
from yarl import URL

# Where a referral's image_url and thumbnail_url have been seen to lead.
HOSTS = ("fbcdn.net", "facebook.com", "cdninstagram.com", "whatsapp.net")
MAX_BYTES = 2 * 1024 * 1024
TIMEOUT_S = 10.0
MAX_REDIRECTS = 3
CHUNK = 65_536
EXPIRED = frozenset(
    {401, 403, 404, 410}
)  # the link is dead; Meta's answers 403 when its signature is too old
REDIRECTS = frozenset({301, 302, 303, 307, 308})
# What a picture begins with. SVG is not among them: it is a program as much as a picture.
BEGINNINGS = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)


class NotFetched(Exception):
    """There is no picture. reason: one of a few words, or http_ and the status; for_good: another try is of no use."""

    def __init__(self, reason: str, *, for_good: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.for_good = for_good


class PrivateAddress(OSError):
    """A host of Meta's name that leads into our own network."""


class Media:
    """Fetches pictures; open it for a while with `async with`. added: hosts, 'name' or 'name:port', trusted as they are."""

    def __init__(self, added: Iterable[str] = ()) -> None:
        self._added = frozenset(added)
        connector = aiohttp.TCPConnector(
            resolver=_PublicOnly({host.partition(":")[0] for host in self._added})
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
            headers={"Accept": "image/*", "Accept-Encoding": "identity"},
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def picture(self, link: str) -> tuple[str, bytes]:
        """The picture's type and bytes; raises NotFetched."""
        try:
            url = URL(link)
            for _hop in range(MAX_REDIRECTS + 1):
                self._check(url)
                async with self._session.get(url, allow_redirects=False) as answer:
                    if answer.status not in REDIRECTS:
                        return await _read(answer)
                    url = url.join(URL(answer.headers.get("location", "")))
        except ValueError:
            raise NotFetched("bad_link", for_good=True) from None
        except PrivateAddress:
            raise NotFetched("private_address", for_good=True) from None
        except TimeoutError:
            raise NotFetched("too_slow", for_good=False) from None
        except (aiohttp.ClientError, OSError) as error:
            if _is_private(error):
                raise NotFetched("private_address", for_good=True) from None
            raise NotFetched("unreachable", for_good=False) from None
        raise NotFetched("too_many_redirects", for_good=True)

    def _check(self, url: URL) -> None:
        host = (url.host or "").lower().rstrip(".")
        if host in self._added or f"{host}:{url.port}" in self._added:
            return
        ours = url.scheme == "https" and url.port == 443 and url.user is None
        if not ours or not any(host == each or host.endswith(f".{each}") for each in HOSTS):
            raise NotFetched("host_not_allowed", for_good=True)


def picture_type(content: bytes) -> str | None:
    """The type of a picture by what it begins with; None for anything else."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    return next((name for beginning, name in BEGINNINGS if content.startswith(beginning)), None)


async def _read(answer: aiohttp.ClientResponse) -> tuple[str, bytes]:
    if answer.status != 200:
        raise NotFetched(f"http_{answer.status}", for_good=answer.status in EXPIRED)
    content = bytearray()
    async for chunk in answer.content.iter_chunked(CHUNK):
        content += chunk
        if len(content) > MAX_BYTES:
            raise NotFetched("too_large", for_good=True)
    kind = picture_type(bytes(content[:16]))
    if kind is None:
        raise NotFetched("not_a_picture", for_good=True)
    return kind, bytes(content)


class _PublicOnly(AbstractResolver):
    """Resolves to public addresses alone. What it answers is what is connected to, so nothing changes in between."""

    def __init__(self, trusted: set[str]) -> None:
        self._trusted = trusted
        self._resolver = DefaultResolver()

    @override
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        if host not in self._trusted and not all(is_public(each["host"]) for each in found):
            raise PrivateAddress(host)
        return found

    @override
    async def close(self) -> None:
        await self._resolver.close()


def is_public(address: str) -> bool:
    """Whether an IP address is reachable on the Internet, and no detour into a private network."""
    found = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address):
        found = found.ipv4_mapped or found.sixtofour or found
    return found.is_global and not found.is_multicast


def _is_private(error: BaseException) -> bool:
    """aiohttp wraps what a resolver raises."""
    return isinstance(error, PrivateAddress) or isinstance(getattr(error, "os_error", None), PrivateAddress)
