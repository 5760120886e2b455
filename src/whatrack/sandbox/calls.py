"""From an HTTP request to a Graph call: JSON or form bodies, tokens by query, form or header, `name[key]` parameters."""

import json
import re
from collections.abc import Iterable
from email import message_from_bytes
from email.policy import HTTP
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request

from whatrack.sandbox.failures import bad_parameter
from whatrack.sandbox.graph import Call, split_path

_BRACKET = re.compile(r"(\w+)\[(\w*)\]")


async def read_call(request: Request) -> Call:
    """The call a request makes; its parameters are text, lists and objects as JSON."""
    params = _joined(parse_qsl(request.url.query, keep_blank_values=True))
    params |= await read_body(request)
    method = request.method
    if method == "POST" and params.get("method", "").upper() in ("GET", "DELETE"):
        method = params.pop("method").upper()
    version, path = split_path(request.url.path)
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    bearer = value.strip() if scheme.lower() in ("bearer", "oauth") else None
    token = params.get("access_token") or bearer
    return Call(method, version, path, params, token, str(request.base_url).rstrip("/"))


async def read_body(request: Request) -> dict[str, str]:
    """The parameters of a body, whatever it is written in."""
    body = await request.body()
    kind = request.headers.get("content-type", "")
    if not body:
        return {}
    if kind.startswith("multipart/form-data"):
        return _joined(_parts(kind, body))
    if kind.startswith("application/json") or body.lstrip()[:1] == b"{":
        try:
            value = json.loads(body)
        except ValueError:
            raise bad_parameter("The body is not JSON") from None
        if not isinstance(value, dict):
            raise bad_parameter("The body must be a JSON object")
        return {name: _text(each) for name, each in value.items()}
    try:
        return _joined(parse_qsl(body.decode(), keep_blank_values=True))
    except UnicodeDecodeError:
        raise bad_parameter("The body is not UTF-8") from None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _parts(kind: str, body: bytes) -> list[tuple[str, str]]:
    """The fields of a multipart form; files are passed over."""
    whole = message_from_bytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body, policy=HTTP)
    found = []
    for part in whole.iter_parts():
        name = part.get_param("name", header="content-disposition")
        payload = part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(payload, bytes) and part.get_filename() is None:
            found.append((name, payload.decode(errors="replace")))
    return found


def _joined(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Parameters by name; time_range[since]=… and effective_status[]=… become the JSON they stand for."""
    found: dict[str, str] = {}
    objects: dict[str, dict[str, str]] = {}
    lists: dict[str, list[str]] = {}
    for name, value in pairs:
        bracket = _BRACKET.fullmatch(name)
        if bracket is None:
            found[name] = value
        elif bracket[2] and not bracket[2].isdigit():
            objects.setdefault(bracket[1], {})[bracket[2]] = value
        else:
            lists.setdefault(bracket[1], []).append(value)
    written = {name: json.dumps(value) for name, value in [*objects.items(), *lists.items()]}
    return found | written
