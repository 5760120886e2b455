"""What stands above an ad object, and what a filter that names one of them compares with."""

from collections.abc import Mapping

from whatrack.sandbox.failures import bad_parameter
from whatrack.sandbox.nodes import values_of
from whatrack.sandbox.state import AdAccount, AdObject, World

STATUS_WORDS = ("status", "delivery_info")


def chain(world: World, node: AdObject) -> dict[str, AdAccount | AdObject]:
    """The node and what is above it, by level: account, campaign, adset, ad."""
    found: dict[str, AdAccount | AdObject] = {"account": world.get(AdAccount, node.account_id)}
    above: object = node
    while isinstance(above, AdObject):
        found[above.kind] = above
        above = world.nodes.get(above.parent_id)
    return found


def filtered_value(
    world: World, above: Mapping[str, AdAccount | AdObject], field: str, level: str
) -> str | None:
    """A filter's value: `campaign.id` is the campaign's, `effective_status` and `name` are the level's own."""
    kind, dot, name = field.partition(".")
    if not dot:
        kind, name = level, field
        prefix, _, rest = field.rpartition("_")
        if prefix in above:
            kind, name = prefix, rest
    if kind not in above:
        raise bad_parameter(f"Filtering field {field} is invalid")
    node = above[kind]
    if name == "id":
        return node.id
    if name == "delivery_info":
        return delivery_info(world.effective_status(node)) if isinstance(node, AdObject) else None
    value = values_of(world, node).get(name)
    return None if value is None else str(value)


def delivery_info(status: str) -> str:
    """What `delivery_info` calls an effective status."""
    return {"ACTIVE": "active", "ARCHIVED": "archived", "DELETED": "deleted"}.get(status, "inactive")
