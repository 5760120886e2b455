"""The unrouted partition: deliveries whose number the intake did not know are routed, quarantined or set aside here."""

from whatrack.db import Connection
from whatrack.inbox import routes as number_routes
from whatrack.inbox import store
from whatrack.inbox.claim import Claim, RowKey, move
from whatrack.inbox.reading import Delivery, Failure
from whatrack.meta import webhook
from whatrack.meta.webhook import Undecodable


async def route(conn: Connection, claimed: Claim) -> tuple[set[RowKey], set[RowKey]]:
    """Send each claimed delivery where it belongs; answers (moved, failed) rows for the settlement.

    A body without any change is done: the intake queues none, but a replay may.
    """
    moved: set[RowKey] = set()
    failed: set[RowKey] = set()
    wanted = {(each.id, each.route): _routes(each) for each in claimed.deliveries}
    known = {route for found in wanted.values() if isinstance(found, set) for route in found}
    targets = await number_routes.targets(conn, known)
    for delivery in claimed.deliveries:
        found = wanted[delivery.id, delivery.route]
        if isinstance(found, Failure) or "" in found:
            failure = found if isinstance(found, Failure) else _without_number(delivery)
            await store.set_aside(conn, failure, "failed")
            failed.add((delivery.id, delivery.route))
        if isinstance(found, Failure):
            continue
        found.discard("")
        homes = {name: {target.partition for target in targets.get(name, ())} for name in found}
        for name, partitions in homes.items():
            for partition in partitions:
                await move(conn, delivery, partition, name)
            if not partitions:
                await _quarantine(conn, delivery, name)
                failed.add((delivery.id, name))
        if found and all(homes.values()):
            moved.add((delivery.id, delivery.route))
    return moved, failed


def _routes(delivery: Delivery) -> set[str] | Failure:
    if delivery.route:
        return {delivery.route}
    try:
        return webhook.routes(delivery.body)
    except Undecodable as error:
        return Failure(delivery, "not_a_webhook" if error.is_json else "not_json", str(error))


def _without_number(delivery: Delivery) -> Failure:
    return Failure(
        delivery, "no_number", "a change is unreadable, or names no phone_number_id and its entry no WABA id"
    )


async def _quarantine(conn: Connection, delivery: Delivery, route: str) -> None:
    what = "WABA" if route.startswith("waba:") else "number"
    reason = Failure(
        delivery,
        f"unknown_{what.lower()}",
        f"no live {what} {route.removeprefix('waba:')}: run `whatrack number add`",
    )
    await store.set_aside(conn, reason, "quarantined", route)
