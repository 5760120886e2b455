"""What every answer of the site carries, and what no other site may send: a strict CSP, and no cross-site changes.

Cross-site requests are told by `Sec-Fetch-Site`, or by `Origin` where a browser sends only that; no token in forms.
The rule is that of Go 1.25's CrossOriginProtection: https://pkg.go.dev/net/http#CrossOriginProtection, read 2026-11-23.
"""

from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from whatrack.roi.subscriptions import STOP

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'; object-src 'none'"
)
HEADERS = [
    (b"content-security-policy", CSP.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
]
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
# What Meta posts to us; each is checked by its own signature.
FROM_META = frozenset(
    {"/api/v1/whatsapp/webhook", "/api/v1/meta-ads/deauthorize", "/api/v1/meta-ads/data-deletion"}
)


class Security:
    """ASGI middleware: refuses cross-site changes with 403, and sets the headers."""

    def __init__(self, app: ASGIApp, own_host: str) -> None:
        self._app = app
        self._own_host = own_host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(each for each in HEADERS if each[0] not in given),
                ]
            await send(message)

        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if not _is_open(scope["path"]) and is_cross_site(scope["method"], headers, self._own_host):
            await _refuse(send_with_headers)
            return
        await self._app(scope, receive, send_with_headers)


def is_cross_site(method: str, headers: Mapping[str, str], own_host: str) -> bool:
    """Whether another site's page makes this request. own_host: ours as people reach it, for a proxy in between."""
    if method in SAFE:
        return False
    site = headers.get("sec-fetch-site")
    if site:
        return site not in ("same-origin", "none")
    origin = headers.get("origin")
    if not origin:
        return False  # no browser
    return urlsplit(origin).netloc not in (headers.get("host"), own_host)


def _is_open(path: str) -> bool:
    """Whether anybody may post there from anywhere: what comes with its own signature, or whose address is the secret.

    A mail program that runs in a browser stops letters from another site; no cookie has a say in that.
    """
    return path in FROM_META or path.startswith(STOP)


async def _refuse(send: Send) -> None:
    text = b"This request came from another site and was refused. Open the page here and send the form again."
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": text})
