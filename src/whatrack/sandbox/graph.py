"""One request to the Graph API and its answer, without HTTP: versions, batches, ids, nodes and edges.

Source: Meta, "Graph API overview", "Batch requests", "Field expansion", read 2026-11.
"""

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from whatrack.sandbox import chance, faults, oauth, reports, usage, writes
from whatrack.sandbox.access import Caller, account_of, find_token, identify, visible
from whatrack.sandbox.edges import Entry, entries, entries_or_refuse
from whatrack.sandbox.failures import GraphError, bad_parameter, missing_object, unknown_path
from whatrack.sandbox.faults import Faults, Target, made_odd
from whatrack.sandbox.fields import Wanted, as_text, parse_fields
from whatrack.sandbox.nodes import Follow, render
from whatrack.sandbox.paging import page_of
from whatrack.sandbox.state import AdAccount, AdObject, Node, Person, ReportRun, World

VERSIONS = ("v21.0", "v22.0", "v23.0", "v24.0", "v25.0", "v26.0")
NEWEST = VERSIONS[-1]
MAX_IDS = MAX_BATCH = 50
UNVERSIONED = (("oauth", "access_token"), ("debug_token",))
_VERSION = re.compile(r"v\d+(\.\d+)?")


@dataclass(frozen=True)
class Call:
    """A request. version: "" without one; token: the caller's, however it was given; base_url: the sandbox's own."""

    method: str
    version: str
    path: tuple[str, ...]
    params: dict[str, str]
    token: str | None
    base_url: str

    @property
    def address(self) -> str:
        """The URL without its query."""
        return "/".join((self.base_url, *([self.version] if self.version else []), *self.path))


@dataclass
class Answer:
    """status and headers of HTTP, and the JSON."""

    status: int
    body: Any
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Load:
    """What the usage headers will say, found while a request is handled."""

    account_id: str | None = None
    hit: usage.Load | None = None


def split_path(path: str) -> tuple[str, tuple[str, ...]]:
    """(version or "", the other parts); slashes at the ends do not matter."""
    parts = tuple(part for part in path.split("/") if part)
    if parts and _VERSION.fullmatch(parts[0]):
        version = parts[0] if "." in parts[0] else f"{parts[0]}.0"
        return version, parts[1:]
    return "", parts


class Graph:
    """The Graph API over a world, with its faults."""

    def __init__(self, world: World, waiting: Faults) -> None:
        self.world, self.faults = world, waiting
        self._calls: dict[str | None, int] = {}

    def target(self, call: Call) -> Target:
        """What faults are matched with."""
        person_id = None
        if call.token:
            with suppress(GraphError):
                person_id = find_token(self.world, call.token).person_id
        node = self.world.nodes.get(call.path[0].removeprefix("act_")) if call.path else None
        account_id = account_of(node) if node is not None else None
        return Target(call.method, "/".join(call.path), person_id, account_id)

    def answer(self, call: Call) -> Answer:
        """Carry a request out."""
        trace = "A" + chance.letters(22, self.world.seed, "trace", self.world.serial())
        target = self.target(call)
        load = Load(target.account_id)
        try:
            status, body = 200, self._body(call, target, load, trace)
        except GraphError as error:
            status, body = error.status, error.envelope(trace)
        return Answer(status, body, self._headers(call, load, trace))

    def _headers(self, call: Call, load: Load, trace: str) -> dict[str, str]:
        count = self._calls[load.account_id] = self._calls.get(load.account_id, 0) + 1
        insights = "insights" in call.path
        said = load.hit or usage.usual(count)
        return {
            "facebook-api-version": call.version or NEWEST,
            "x-fb-trace-id": trace,
            "x-fb-rev": "1026000000",
            **usage.headers(said, account_id=load.account_id, insights=insights),
        }

    def _body(self, call: Call, target: Target, load: Load, trace: str) -> Any:
        self._check_version(call, target)
        if settings := self.faults.take("usage", target):
            load.hit = usage.Load(
                float(settings["percent"]), int(settings["minutes"]), business=str(settings["business"])
            )
        if limit := faults.throttle(self.faults, target):
            load.hit = usage.Load(100, limit[1], limit[0].code)
            raise limit[0]
        if error := faults.refusal(self.faults, target):
            raise error
        match call.path:
            case ():
                return self._root(call, target)
            case ("oauth", "access_token"):
                quiet = call.params.get("grant_type") == "fb_exchange_token" and self.faults.take(
                    "no_expires_in", target
                )
                return oauth.access_token(self.world, call.params, tell_expiry=not quiet)
            case ("debug_token",):
                return oauth.debug_token(self.world, call.params, call.token)
            case _:
                return self._node(call, target, trace)

    def _check_version(self, call: Call, target: Target) -> None:
        if call.version and call.version not in VERSIONS:
            raise unknown_path(f"/{call.version}/{target.path}")
        if call.path in UNVERSIONED:
            return
        gone = self.faults.take("expired_versions", target) if self._is_gone(call.version) else None
        if (not call.version and call.path) or gone:
            text = f"(#2635) You are calling a deprecated version of the Ads API. Please update to the latest version: {NEWEST}."
            raise GraphError(2635, text)

    def _is_gone(self, version: str) -> bool:
        return any(
            version in fault.settings["versions"]
            for fault in self.faults.waiting()
            if fault.kind == "expired_versions"
        )

    def _caller(self, call: Call) -> Caller:
        return identify(self.world, call.token, call.params.get("appsecret_proof"))

    def _root(self, call: Call, target: Target) -> Any:
        if "batch" in call.params:
            return self._batch(call, target)
        if "ids" in call.params:
            return self._many(call, target, None)
        raise bad_parameter("The parameter ids is required")

    def _batch(self, call: Call, target: Target) -> list[Any]:
        """Each part as a call of its own; the whole is 200 even when parts fail."""
        try:
            parts = json.loads(call.params["batch"])
        except ValueError:
            parts = None
        if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
            raise bad_parameter("Param batch must be an array.", kind="GraphBatchException")
        if len(parts) > MAX_BATCH:
            text = f"Too many requests in batch message. Maximum batch size is {MAX_BATCH}"
            raise GraphError(100, text, kind="GraphBatchException")
        lost = self.faults.take("batch_null", target)
        with_headers = call.params.get("include_headers", "true").lower() != "false"
        return [
            None if lost and int(lost["part"]) == place else self._part(call, part, with_headers=with_headers)
            for place, part in enumerate(parts)
        ]

    def _part(self, call: Call, part: Mapping[str, Any], *, with_headers: bool) -> dict[str, Any] | None:
        url = urlsplit(str(part.get("relative_url", "")))
        version, path = split_path(url.path)
        inherited = {
            name: call.params[name] for name in ("access_token", "appsecret_proof") if name in call.params
        }
        own = dict(parse_qsl(url.query)) | dict(parse_qsl(str(part.get("body", ""))))
        if own.get("access_token", call.token) != call.token:  # another token needs its own proof
            inherited = {}
        inner = replace(
            call,
            method=str(part.get("method", "GET")).upper(),
            version=version or call.version or NEWEST,
            path=path,
            params=inherited | own,
            token=own.get("access_token", call.token),
        )
        found = self.answer(inner)
        if found.status == 200 and part.get("omit_response_on_success") is True:
            return None
        answer: dict[str, Any] = {"code": found.status, "body": json.dumps(found.body, separators=(",", ":"))}
        if with_headers:
            kind = {"name": "Content-Type", "value": "application/json; charset=UTF-8"}
            answer["headers"] = [
                kind,
                *({"name": name, "value": value} for name, value in found.headers.items()),
            ]
        return answer

    def _many(self, call: Call, target: Target, edge: str | None) -> dict[str, Any]:
        """?ids=a,b: an object by id, of nodes or of one edge's lists."""
        ids = list(dict.fromkeys(each for each in call.params["ids"].split(",") if each))
        if len(ids) > MAX_IDS:
            raise bad_parameter(f"Too many IDs. Maximum: {MAX_IDS}. Provided: {len(ids)}.")
        caller = self._caller(call)
        omit = self.faults.take("ids_omit", target)
        found = {}
        for each in ids:
            try:
                node = visible(self.world, caller, each)
            except GraphError:
                if omit:
                    continue
                raise
            found[each] = (
                self._list(call, caller, node, edge, target) if edge else self._render(call, caller, node)
            )
        return found

    def _node(self, call: Call, target: Target, trace: str) -> Any:
        if len(call.path) == 1 and "ids" in call.params:
            return self._many(call, target, call.path[0])
        if len(call.path) > 2:
            raise unknown_path("/" + target.path)
        caller = self._caller(call)
        node = visible(self.world, caller, call.path[0], call.method)
        edge = call.path[1] if len(call.path) == 2 else ""
        if call.method != "GET":
            return writes.write(
                self.world,
                self.faults,
                caller,
                writes.Write(node, edge, call.method, call.params, target, trace),
            )
        if not edge:
            if isinstance(node, ReportRun):
                reports.poll(node)
            return self._render(call, caller, node)
        if edge == "insights":
            return self._insights(call, node, target)
        return self._list(call, caller, node, edge, target)

    def _render(self, call: Call, caller: Caller, node: Node) -> dict[str, Any]:
        text = call.params.get("fields", "")
        return render(self.world, node, parse_fields(text) if text else None, self._follow(call, caller))

    def _follow(self, call: Call, caller: Caller) -> Follow:
        """Edges named among the fields: their first page, with the arguments given there."""

        def follow(node: Node, wanted: Wanted) -> Any:
            params = dict(wanted.arguments) | _token(call)
            if wanted.fields is not None:
                params["fields"] = as_text(wanted.fields)
            address = replace(call, path=(_path_id(node), wanted.name)).address
            if wanted.name == "insights" and isinstance(node, AdAccount | AdObject):
                return page_of(reports.read(self.world, node, params), params, address)
            found = entries(self.world, caller, node, wanted.name, params)
            if found is None:
                return None
            page = page_of(found, params, address)
            page["data"] = _told(self.world, page["data"], wanted.fields, follow)
            return page

        return follow

    def _list(self, call: Call, caller: Caller, node: Node, edge: str, target: Target) -> dict[str, Any]:
        found = entries_or_refuse(self.world, caller, node, edge, call.params)
        page = self._page(found, call, target)
        text = call.params.get("fields", "")
        wanted, follow = parse_fields(text) if text else None, self._follow(call, caller)
        page["data"] = _told(self.world, page["data"], wanted, follow)
        if call.params.get("summary", "").lower() not in ("", "false", "0"):
            page["summary"] = {"total_count": len(found)}
        return page

    def _page(self, rows: Sequence[Any], call: Call, target: Target) -> dict[str, Any]:
        params = call.params | _token(call)
        return page_of(
            rows,
            params,
            call.address,
            short=self.faults.take("short_pages", target) is not None,
            empty_first=self.faults.take("empty_page", target) is not None,
        )

    def _insights(self, call: Call, node: Node, target: Target) -> dict[str, Any]:
        match node:
            case ReportRun():
                rows = reports.result(node)
            case AdAccount() | AdObject():
                limit = self.faults.take("too_much_data", target)
                rows = reports.read(
                    self.world, node, call.params, max_rows=int(limit["rows"]) if limit else None
                )
            case _:
                raise missing_object(call.path[0])
        page = self._page(rows, call, target)
        page["data"] = made_odd(self.faults, target, page["data"])
        if "summary" in call.params or "default_summary" in call.params:
            page["summary"] = reports.summary(rows)
        return page


def _told(
    world: World, found: Sequence[Entry], wanted: tuple[Wanted, ...] | None, follow: Follow
) -> list[dict[str, Any]]:
    """The entries of a list as JSON."""
    return [each if isinstance(each, dict) else render(world, each, wanted, follow) for each in found]


def _token(call: Call) -> dict[str, str]:
    """What a link to another page needs besides the caller's own parameters."""
    return {"access_token": call.token} if call.token else {}


def _path_id(node: Node) -> str:
    """A node as a path names it."""
    return f"act_{node.id}" if isinstance(node, AdAccount) else "me" if isinstance(node, Person) else node.id
