"""The webhooks of a history: its lines as messages, several to a delivery, with what was said when, and the referral of a tap."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from whatrack.sandbox import chance
from whatrack.sandbox.cases import POST_KIND, UNIDENTIFIED, Case, Line, Touch
from whatrack.sandbox.state import Click, Number, World
from whatrack.sandbox.traffic import envelope, post_referral, referral, value_of

LATE_BY_S = 2 * 86_400


@dataclass(frozen=True)
class Said:
    """A line and whose it is."""

    case: Case
    line: Line


def deliveries(
    world: World, said: Sequence[Said], *, batch: int = 12, twice: float = 0.02
) -> list[tuple[str, bytes]]:
    """(number, body) in the order they leave: by time, but late ones later. twice: the share that is delivered again."""
    found: list[tuple[str, bytes]] = []
    for number_id in dict.fromkeys(each.case.number_id for each in said):
        mine = sorted((each for each in said if each.case.number_id == number_id), key=_leaves)
        place = 0
        while place < len(mine):
            size = chance.between(
                1, 2 * batch - 1, world.seed, "batch", number_id, mine[place].line.at, place
            )
            found.append((number_id, body_of(world, number_id, mine[place : place + size])))
            place += size
    again = [each for place, each in enumerate(found) if chance.fraction(world.seed, "twice", place) < twice]
    return [*found, *again]


def body_of(world: World, number_id: str, said: Sequence[Said]) -> bytes:
    """One delivery."""
    number = world.get(Number, number_id)
    people = {each.line.wa_id: each.case.name for each in said}
    contacts = [{"profile": {"name": name}, "wa_id": wa_id} for wa_id, name in people.items()]
    messages = [message(world, each) for each in said]
    return envelope(number, value_of(number, contacts=contacts, messages=messages))


def message(world: World, said: Said) -> dict[str, Any]:
    """A line as Meta writes it; the same line always has the same id."""
    line = said.line
    mark = chance.letters(
        40, world.seed, "past wamid", said.case.wa_id, said.case.number_id, line.at, line.text
    )
    found: dict[str, Any] = {
        "from": line.wa_id,
        "id": f"wamid.{mark}",
        "timestamp": str(line.at),
        "type": "text",
        "text": {"body": line.text},
    }
    if line.touch:
        found["referral"] = _referral(world, line.touch, said.case.number_id, line)
    return found


def _referral(world: World, touch: Touch, number_id: str, line: Line) -> dict[str, Any]:
    if touch.kind == POST_KIND:
        return post_referral(world, touch.ad_id)
    told = referral(world, Click(touch.clid, touch.ad_id, number_id, line.wa_id, line.at))
    if touch.kind == UNIDENTIFIED:
        del told["source_id"]
    return told


def _leaves(said: Said) -> tuple[int, str]:
    return said.line.at + LATE_BY_S * said.line.late, said.case.wa_id
