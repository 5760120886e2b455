"""The rules once more, row by row and in the plainest way, to compare the product with. It imports nothing of it.

Written from design.md §6 and the docstrings. Input: messages in the order they arrived, each a dict:

    org, number, wamid, origin (inbound · echo · history · group · system), at (datetime), phone, bsuid,
    new_phone, new_bsuid (what a system message says they become), name, referral (a dict, or None)

A move by hand stands among them: origin (WON · LOST · reopened), at, of (a wamid: whose ticket is moved).

`world()` answers what must be in the database afterwards. A person is a dict with ids, name, phone, bsuid; a ticket a
dict that also holds its messages' ids and the history of its touches.
"""

from datetime import timedelta
from typing import Any

Row = dict[str, Any]


def world(messages: list[Row], *, days: int, now: Any, swept: bool = False) -> Row:
    """Every person, ticket and stored message. days: a ticket's life; now: the clock; swept: the expiry sweep ran last."""
    people: list[Row] = []
    tickets: list[Row] = []
    stored: dict[tuple[Any, str], Row] = {}
    for message in messages:
        if message["origin"] in ("WON", "LOST", "reopened"):
            moved(tickets, message)
        elif (message["org"], message["wamid"]) not in stored:  # one that was seen before changes nothing
            stored[message["org"], message["wamid"]] = message
            said(people, tickets, message, days, now)
    for ticket in tickets:
        if swept and ticket["status"] == "open" and end_of(ticket, days) < now:
            close(ticket, "EXPIRED", end_of(ticket, days))
    return {"people": people, "tickets": tickets, "messages": stored}


def said(people: list[Row], tickets: list[Row], message: Row, days: int, now: Any) -> None:
    """One new message: whose it is, which ticket's, and what its referral changes."""
    person = whose(people, tickets, message)
    if message["origin"] not in ("inbound", "echo"):
        return  # history, groups and changes of id belong to no ticket
    ticket = ticket_of(tickets, person, message, days, now)
    if ticket is None and message["origin"] == "inbound":
        ticket = opened(tickets, person, message)
    if ticket is not None:
        ticket["messages"].append(message["wamid"])
        if message["origin"] == "inbound" and began(tickets, ticket, message["at"], days):
            ticket["opened"] = message["at"]
        if message["origin"] == "inbound" and message["referral"]:
            touched(ticket, message)


def one_line(phone: str) -> str:
    """A Brazilian mobile always with its ninth digit; anything else as it is."""
    is_old_mobile = phone[:2] == "55" and len(phone) == 12 and phone[4] in "6789"
    return phone[:4] + "9" + phone[4:] if is_old_mobile else phone


def ids_of(message: Row) -> list[str]:
    """The ids a message carries: user id before number, what it is before what it becomes."""
    ids = []
    for bsuid, phone in ((message["bsuid"], message["phone"]), (message["new_bsuid"], message["new_phone"])):
        ids += ["bsuid:" + bsuid] if bsuid else []
        ids += ["phone:" + one_line(phone)] if phone else []
    return ids


def whose(people: list[Row], tickets: list[Row], message: Row) -> Row:
    """The person with any of the message's ids. Several are one: the one found first stays, with all the others had."""
    here = [each for each in people if each["org"] == message["org"]]
    found: list[Row] = []
    for key in ids_of(message):
        found += [each for each in here if key in each["ids"] and each not in found]
    found = [each for each in found if not went_to_another(each, message)]
    if not found:
        found = [{"org": message["org"], "ids": set(), "name": None, "phone": None, "bsuid": None}]
        people.append(found[0])
    person = found[0]
    for former in here:  # a number that went to somebody else leads to them from now on
        if former not in found:
            former["ids"] -= set(ids_of(message))
    for other in found[1:]:
        merge(tickets, person, other, message["at"])
        people.remove(other)
    person["ids"].update(ids_of(message))
    phone, bsuid = message["new_phone"] or message["phone"], message["new_bsuid"] or message["bsuid"]
    if phone and (person["phone"] is None or one_line(phone) != one_line(person["phone"])):
        person["phone"] = phone  # the ninth digit alone is no news
    person["bsuid"] = bsuid or person["bsuid"]
    person["name"] = message["name"] or person["name"]
    return person


def went_to_another(person: Row, message: Row) -> bool:
    """Whether the person has left the message's number and its user id is not theirs. A system message names one person."""
    if not message["bsuid"] or message["origin"] == "system" or "bsuid:" + message["bsuid"] in person["ids"]:
        return False
    return person["bsuid"] is not None and one_line(person["phone"] or "") != one_line(message["phone"] or "")


def merge(tickets: list[Row], person: Row, other: Row, at: Any) -> None:
    """Two people turned out to be one. Of two open tickets on one number one goes on: the later touched, else the newer."""
    person["ids"] |= other["ids"]
    for what in ("name", "phone", "bsuid"):
        person[what] = person[what] or other[what]
    for theirs in [ticket for ticket in tickets if ticket["person"] is other]:
        for ours in [ticket for ticket in tickets if ticket["person"] is person]:
            if theirs["number"] == ours["number"] and theirs["status"] == ours["status"] == "open":
                close(ours if rank(ours) <= rank(theirs) else theirs, "MERGED", at)
        theirs["person"] = person


def rank(ticket: Row) -> tuple[bool, Any, Any]:
    """How strongly a ticket goes on: an ad or post beats none, then the later touch (or opening), then the livelier."""
    touch = ticket["last_touch"]
    return (touch is not None, touch["at"] if touch else ticket["opened"], ticket["active"])


def end_of(ticket: Row, days: int) -> Any:
    """When a ticket's life is over: when it closed, or N days after it was last alive."""
    return ticket["active"] + timedelta(days=days) if ticket["status"] == "open" else ticket["closed"]


def close(ticket: Row, reason: str, at: Any) -> None:
    ticket.update(status="closed", reason=reason, closed=at)


def moved(tickets: list[Row], move: Row) -> None:
    """A person closes the ticket of a message, or opens it again; nothing happens where they would be refused."""
    for ticket in [each for each in tickets if move["of"] in each["messages"] and each["org"] == move["org"]]:
        rivals = [
            each for each in tickets
            if each["person"] is ticket["person"] and each["number"] == ticket["number"] and each["status"] == "open"
        ]  # fmt: skip
        if ticket["status"] == "open" and move["origin"] != "reopened" and move["at"] >= ticket["opened"]:
            close(ticket, move["origin"], move["at"])
        elif (
            ticket["status"] == "closed"
            and move["origin"] == "reopened"
            and not rivals
            and move["at"] >= ticket["opened"]
        ):
            ticket.update(status="open", reason=None, closed=None, active=max(ticket["active"], move["at"]))


def ticket_of(tickets: list[Row], person: Row, message: Row, days: int, now: Any) -> Row | None:
    """The open ticket, or a closed one: the newest in whose life the message falls, else the first to come. Or none.

    Not one that was won or lost and began more than a life later.
    """
    at = message["at"]
    here = [each for each in tickets if each["person"] is person and each["number"] == message["number"]]
    for ticket in here:
        if ticket["status"] == "open" and at > end_of(ticket, days):
            close(ticket, "EXPIRED", end_of(ticket, days))
    still = [each for each in here if each["status"] == "open"]
    closed = [each for each in here if each["reason"] not in (None, "MERGED") and at <= each["closed"]]
    closed = [
        each for each in closed if each["reason"] == "EXPIRED" or each["opened"] <= at + timedelta(days=days)
    ]
    begun = [each for each in closed if each["opened"] <= at]
    if still and still[0]["opened"] <= at:
        ticket = still[0]
    elif begun:
        ticket = max(begun, key=in_time)
    elif closed or still:
        ticket = min(closed, key=in_time) if closed else still[0]
    else:
        return None
    ticket["last"] = max(ticket["last"], at)
    ticket["active"] = max(ticket["active"], at)
    if ticket["reason"] == "EXPIRED":  # a late one lengthens its life, and may bring it back
        ticket["closed"] = ticket["active"] + timedelta(days=days)
        if ticket["closed"] > now and not still:
            ticket.update(status="open", reason=None, closed=None)
    return ticket


def began(tickets: list[Row], ticket: Row, at: Any, days: int) -> bool:
    """Whether an earlier message is the ticket's first: within a life before it, after the one before it was over."""
    before = [
        each for each in tickets
        if each["person"] is ticket["person"] and each["number"] == ticket["number"] and each is not ticket
        and each["reason"] != "MERGED" and each["opened"] <= ticket["opened"]
    ]  # fmt: skip
    is_near = at < ticket["opened"] <= at + timedelta(days=days)
    return is_near and all(each["closed"] is not None and each["closed"] < at for each in before)


def in_time(ticket: Row) -> tuple[Any, Any, int]:
    """Which of two expired tickets is the newer; of two with the same life, the one made later."""
    return (ticket["opened"], ticket["closed"], ticket["place"])


def opened(tickets: list[Row], person: Row, message: Row) -> Row:
    """A new ticket; a follow-up when no ad or post led to it and the person's last one closed under seven days ago."""
    at = message["at"]
    theirs = [each for each in tickets if each["person"] is person and each["reason"] not in (None, "MERGED")]
    recent = any(each["closed"] <= at < each["closed"] + timedelta(days=7) for each in theirs)
    ticket = {
        "org": message["org"], "number": message["number"], "person": person, "status": "open", "reason": None,
        "opened": at, "last": at, "active": at, "closed": None, "follow_up": recent and touch_in(message) is None,
        "last_touch": None, "first_touch": None, "history": [], "messages": [], "place": len(tickets),
    }  # fmt: skip
    tickets.append(ticket)
    return ticket


def touch_in(message: Row) -> Row | None:
    """What the referral proves: an ad, a post, or neither (organic). Nothing without a kind or an id."""
    referral = message["referral"] or {}
    source, clid = referral.get("source_id") or None, referral.get("ctwa_clid") or None
    kind = referral.get("source_type")
    if kind not in ("ad", "post"):
        if source is None and clid is None:
            return None
        kind = "ad" if clid else "organic"
    ad = source if kind == "ad" else None
    return {"at": message["at"], "wamid": message["wamid"], "kind": kind, "ad": ad, "source": source, "clid": clid}  # fmt: skip


def touched(ticket: Row, message: Row) -> None:
    """Last touch: all of it replaces all of the stored one, unless it is older; the history keeps what was decided."""
    touch, before = touch_in(message), ticket["last_touch"]
    if touch is None:
        return
    if touch["kind"] == "organic":
        decision = "unrecognised"
    elif before is None:
        decision = "first_touch"
    elif touch["at"] < before["at"]:
        decision = "late"
    else:
        decision = "same_ad" if touch["ad"] and touch["ad"] == before["ad"] else "new_ad"
    old = before or {"ad": None, "clid": None}
    ids = (old["ad"], touch["ad"], old["clid"], touch["clid"])
    ticket["history"].append((touch["wamid"], touch["at"], decision, touch["kind"], *ids))
    if decision == "unrecognised":
        return
    if ticket["first_touch"] is None or touch["at"] < ticket["first_touch"]["at"]:
        ticket["first_touch"] = touch
    if decision != "late":
        ticket["last_touch"], ticket["follow_up"] = touch, False
