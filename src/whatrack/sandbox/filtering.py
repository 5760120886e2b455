"""`filtering=[{"field","operator","value"}]`, as lists and insights take it."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from whatrack.sandbox.failures import bad_parameter


@dataclass(frozen=True)
class Condition:
    """One filter."""

    field: str
    operator: str
    value: Any


def parse_filtering(params: Mapping[str, str]) -> tuple[Condition, ...]:
    """The filters of a request; also `effective_status`, which lists take by itself."""
    conditions = []
    if text := params.get("filtering"):
        for each in as_json(text, "filtering"):
            if not isinstance(each, dict) or not {"field", "operator"} <= each.keys():
                raise bad_parameter("Param filtering must hold objects of field, operator and value")
            operator = str(each["operator"]).upper()
            if operator not in _TESTS:
                raise bad_parameter(f"Param filtering: operator {operator} is not valid")
            conditions.append(Condition(str(each["field"]), operator, each.get("value")))
    if text := params.get("effective_status"):
        conditions.append(Condition("effective_status", "IN", as_json(text, "effective_status")))
    return tuple(conditions)


def as_json(text: str, name: str) -> list[Any]:
    """A list given as JSON, or as a comma list of words."""
    if not text.lstrip().startswith(("[", "{", '"')):
        return text.split(",")
    try:
        value = json.loads(text)
    except ValueError:
        raise bad_parameter(f"Param {name} must be JSON") from None
    return value if isinstance(value, list) else [value]


def holds(condition: Condition, actual: Any) -> bool:
    """Whether a value passes; a missing one passes only what denies."""
    if actual is None:
        return condition.operator.startswith("NOT_") or condition.operator == "NONE"
    return _TESTS[condition.operator](actual, condition.value)


def _number(value: Any) -> Decimal:
    """A number; an instant counts in unix seconds, whether written as such or as a time."""
    try:
        return Decimal(str(value))
    except InvalidOperation:
        pass
    try:
        return Decimal(int(datetime.strptime(str(value), "%Y-%m-%dT%H:%M:%S%z").timestamp()))
    except ValueError:
        raise bad_parameter(f"Param filtering: {value} is no number") from None


def _texts(value: Any) -> set[str]:
    return {str(each) for each in (value if isinstance(value, list) else [value])}


def _in_range(actual: Any, value: Any) -> bool:
    return _number(value[0]) <= _number(actual) <= _number(value[1])


_TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "EQUAL": lambda actual, value: str(actual) == str(value),
    "NOT_EQUAL": lambda actual, value: str(actual) != str(value),
    "GREATER_THAN": lambda actual, value: _number(actual) > _number(value),
    "GREATER_THAN_OR_EQUAL": lambda actual, value: _number(actual) >= _number(value),
    "LESS_THAN": lambda actual, value: _number(actual) < _number(value),
    "LESS_THAN_OR_EQUAL": lambda actual, value: _number(actual) <= _number(value),
    "AFTER": lambda actual, value: _number(actual) > _number(value),
    "BEFORE": lambda actual, value: _number(actual) < _number(value),
    "IN_RANGE": _in_range,
    "NOT_IN_RANGE": lambda actual, value: not _in_range(actual, value),
    "CONTAIN": lambda actual, value: str(value).casefold() in str(actual).casefold(),
    "NOT_CONTAIN": lambda actual, value: str(value).casefold() not in str(actual).casefold(),
    "STARTS_WITH": lambda actual, value: str(actual).startswith(str(value)),
    "IN": lambda actual, value: str(actual) in _texts(value),
    "NOT_IN": lambda actual, value: str(actual) not in _texts(value),
    "ANY": lambda actual, value: str(actual) in _texts(value),
    "ALL": lambda actual, value: {str(actual)} == _texts(value),
    "NONE": lambda actual, value: str(actual) not in _texts(value),
}
