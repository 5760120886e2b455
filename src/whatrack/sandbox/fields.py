"""Reads `fields=`: names, nested names, and edges with arguments, as text or as a JSON list.

    id,name,campaign{id,name},ads.limit(5){id}        or        ["id","campaign{name}"]
Source: Meta, "Field expansion" (Graph API guide), read 2026-11.
"""

import json
import re
from dataclasses import dataclass

from typing_extensions import override

from whatrack.sandbox.failures import bad_parameter

_NAME = re.compile(r"[\w-]+")
_OPEN, _CLOSE = "({[", ")}]"


@dataclass(frozen=True)
class Wanted:
    """One name that is asked for. fields: what of it, None when nothing is said."""

    name: str
    arguments: tuple[tuple[str, str], ...] = ()
    fields: tuple["Wanted", ...] | None = None

    @override
    def __str__(self) -> str:
        arguments = "".join(f".{name}({value})" for name, value in self.arguments)
        return self.name + arguments + ("" if self.fields is None else f"{{{as_text(self.fields)}}}")


def as_text(wanted: tuple[Wanted, ...]) -> str:
    """The fields as `fields=` writes them."""
    return ",".join(map(str, wanted))


def parse_fields(text: str) -> tuple[Wanted, ...]:
    """What `fields=` asks for, each once, in order."""
    parts = _listed(text) if text.lstrip().startswith("[") else _split(text)
    found = {each.name: each for part in parts for each in [_one(part)]}
    return tuple(found.values())


def _listed(text: str) -> list[str]:
    """The names of a JSON list; Meta also takes one in single quotes, which a connector sends."""
    try:
        values = json.loads(text)
    except ValueError:
        if not text.rstrip().endswith("]"):
            raise bad_parameter("Param fields must be a list of names.") from None
        values = [each.strip(" '\"") for each in _split(text.strip()[1:-1])]
    return [part for value in values for part in _split(str(value))]


def _split(text: str) -> list[str]:
    """At the commas that stand in no bracket."""
    parts, depth, start = [], 0, 0
    for place, char in enumerate(text):
        depth += (char in _OPEN) - (char in _CLOSE)
        if char == "," and depth == 0:
            parts.append(text[start:place])
            start = place + 1
    if depth:
        raise _syntax_error(text)
    return [part for raw in [*parts, text[start:]] if (part := raw.strip())]


def _one(text: str) -> Wanted:
    name = _NAME.match(text)
    if not name:
        raise _syntax_error(text)
    rest, arguments, fields = text[name.end() :].strip(), [], None
    while rest.startswith("."):
        key = _NAME.match(rest, 1)
        if not key or not rest[key.end() :].startswith("("):
            raise _syntax_error(text)
        inside, rest = _bracketed(rest[key.end() :])
        arguments.append((key.group(), inside))
    if rest.startswith("{"):
        inside, rest = _bracketed(rest)
        fields = parse_fields(inside)
    if rest:
        raise _syntax_error(text)
    return Wanted(name.group(), tuple(arguments), fields)


def _bracketed(text: str) -> tuple[str, str]:
    """(what stands in the bracket the text starts with, what follows it)."""
    depth = 0
    for place, char in enumerate(text):
        depth += (char in _OPEN) - (char in _CLOSE)
        if depth == 0:
            return text[1:place], text[place + 1 :].strip()
    raise _syntax_error(text)


def _syntax_error(text: str) -> Exception:
    return bad_parameter(f'Syntax error "Expected name or end of string." in the field list: {text[:80]}')
