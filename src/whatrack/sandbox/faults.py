"""Faults on demand: each says what goes wrong, for which requests, and how often.

A fault is taken by the first request that matches; `times` counts down (null: until it is removed). What changes state
instead (a token that expires, figures that are revised) is in `trouble.py`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from whatrack.errors import bad_value
from whatrack.sandbox.failures import THROTTLES, GraphError, throttled

# kind → (what it does, its settings with their defaults).
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "throttle": (
        "Refuses with a rate limit; the usage headers say when to come back.",
        {"code": 17, "subcode": None, "minutes": 5, "status": 400},
    ),
    "error": (
        "Refuses with any code and subcode.",
        {"code": 2, "subcode": None, "message": "", "status": 400, "transient": False},
    ),
    "server_error": (
        "Answers 5xx with a page that is no JSON; done: after the request was carried out.",
        {"status": 500, "done": False},
    ),
    "slow": ("Answers after so many seconds.", {"seconds": 2.0}),
    "drop_request": ("Closes the connection; nothing is done.", {}),
    "drop_answer": ("Carries the request out, then closes the connection without an answer.", {}),
    "events_received": (
        "Events are answered with this count; what exceeds it is not kept, and no error says so.",
        {"count": 0},
    ),
    "usage": (
        "The usage headers report this load, of this business rather than of the account where one is given; nothing is refused.",
        {"percent": 80, "minutes": 0, "business": ""},
    ),
    "expired_versions": (
        "Marketing API versions that are gone answer 2635.",
        {"versions": ["v21.0", "v22.0", "v23.0", "v24.0"]},
    ),
    "no_expires_in": ("The long-lived exchange does not tell when the token expires.", {}),
    "short_pages": ("Lists give half of what was asked for, with a next page.", {}),
    "empty_page": ("Lists begin with an empty page that has a next one.", {}),
    "too_much_data": ("Synchronous insights of more rows than this are refused.", {"rows": 100}),
    "report": (
        "Asynchronous reports end this way, when asked about for the nth time.",
        {"ending": "Job Failed", "polls": 2},
    ),
    "odd_rows": (
        "Rows of insights of this ad and day (empty: of any) have these values, and not those that are dropped.",
        {"ad": "", "day": "", "values": {}, "drop": []},
    ),
    "batch_null": ("This part of a batch (from 0) is answered with null.", {"part": 0}),
    "ids_omit": ("?ids= leaves out what cannot be seen instead of refusing the call.", {}),
}
TARGETS = ("method", "path", "person_id", "account_id")


@dataclass(frozen=True)
class Target:
    """What a fault is matched with. path: without version, such as act_1/insights; "" for the root."""

    method: str
    path: str
    person_id: str | None = None
    account_id: str | None = None


@dataclass
class Fault:
    """One fault. `where` names some of method, path (with * and ?), person_id and account_id; all must match.

    skip: so many requests that match are let through first.
    """

    id: str
    kind: str
    settings: dict[str, Any]
    where: dict[str, str] = field(default_factory=dict)
    times: int | None = 1
    skip: int = 0
    taken: int = 0

    def matches(self, target: Target) -> bool:
        """Whether the fault concerns this request."""
        return all(
            fnmatchcase(str(getattr(target, name) or ""), wanted) for name, wanted in self.where.items()
        )

    def as_json(self) -> dict[str, Any]:
        """As the admin API shows it."""
        about = {"id": self.id, "kind": self.kind, **self.settings, **self.where}
        return {**about, "times": self.times, "skip": self.skip, "taken": self.taken}


class Faults:
    """The faults that wait to be taken, oldest first."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []
        self._count = 0

    def inject(self, kind: str, *, times: int | None = 1, skip: int = 0, **more: Any) -> Fault:
        """Add one; `more` holds its settings and what requests it is for. Refused when a name is not one of the kind's."""
        if kind not in KINDS:
            raise bad_value("kind", f"There is no fault {kind!r}: choose of {', '.join(KINDS)}.")
        defaults = KINDS[kind][1]
        settings, where = dict(defaults), {}
        for name, value in more.items():
            if name in defaults:
                settings[name] = value
            elif name in TARGETS:
                where[name] = str(value)
            else:
                known = ", ".join((*defaults, *TARGETS, "times", "skip"))
                raise bad_value(name, f"The fault {kind} has no {name!r}: it takes {known}.")
        if kind == "throttle" and settings["code"] not in THROTTLES:
            known = ", ".join(map(str, THROTTLES))
            raise bad_value("code", f"{settings['code']} is no rate limit: choose of {known}.")
        self._count += 1
        fault = Fault(f"fault-{self._count}", kind, settings, where, times, skip)
        self._waiting.append(fault)
        return fault

    def remove(self, fault_id: str) -> bool:
        """Take one away; False when it is not there."""
        before = len(self._waiting)
        self._waiting = [fault for fault in self._waiting if fault.id != fault_id]
        return len(self._waiting) < before

    def clear(self) -> None:
        """Take all away."""
        self._waiting.clear()

    def waiting(self) -> list[Fault]:
        """All that still can happen."""
        return list(self._waiting)

    def take(self, kind: str, target: Target) -> Mapping[str, Any] | None:
        """The settings (with the kind, so never empty) of a fault for this request, counted as taken; None without one."""
        return next(self._taken(kind, target), None)

    def take_all(self, kind: str, target: Target) -> list[Mapping[str, Any]]:
        """The settings of every fault for this request, each counted as taken."""
        return list(self._taken(kind, target))

    def _taken(self, kind: str, target: Target) -> Iterator[Mapping[str, Any]]:
        for fault in list(self._waiting):
            if fault.kind == kind and fault.matches(target):
                if fault.skip > 0:
                    fault.skip -= 1
                    continue
                fault.taken += 1
                if fault.times is not None:
                    fault.times -= 1
                    if fault.times <= 0:
                        self._waiting.remove(fault)
                yield {**fault.settings, "kind": kind}


def made_odd(faults: Faults, target: Target, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of insights as the faults want them."""
    for odd in faults.take_all("odd_rows", target):
        rows = [
            {name: value for name, value in {**row, **odd["values"]}.items() if name not in odd["drop"]}
            if odd["ad"] in ("", row.get("ad_id")) and odd["day"] in ("", row.get("date_start"))
            else row
            for row in rows
        ]
    return rows


def refusal(faults: Faults, target: Target) -> GraphError | None:
    """The error that is due, of the kinds that refuse before anything is done."""
    if settings := faults.take("error", target):
        code = int(settings["code"])
        return GraphError(
            code,
            settings["message"] or f"(#{code}) Injected by the sandbox",
            subcode=settings["subcode"],
            status=int(settings["status"]),
            transient=bool(settings["transient"]),
        )
    return None


def throttle(faults: Faults, target: Target) -> tuple[GraphError, int] | None:
    """The rate limit that is due, and in how many minutes it ends."""
    settings = faults.take("throttle", target)
    if settings is None:
        return None
    error = throttled(int(settings["code"]), settings["subcode"], status=int(settings["status"]))
    return error, int(settings["minutes"])
