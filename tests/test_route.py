"""Which dataset and whose token: the decision alone, every case."""

from uuid import UUID

import pytest

from whatrack.connections.keys import Held
from whatrack.connections.route import AccountFacts, NumberFacts, ProfileFacts, choose

ORG = UUID(int=1)
OWN, SITE, THEIRS = "701", "702", "703"
ANA, BIA, CAIO = (UUID(int=number) for number in (11, 12, 13))
NUMBER_TOKEN = Held("number", ORG, "55", b"n", "9")


def profile(which: UUID, *scopes: str) -> ProfileFacts:
    return ProfileFacts(which, Held("profile", ORG, str(which), b"p", "8"), frozenset(scopes))


def account(pixel: str | None = None, *, active: bool = True, confirmed: bool = False) -> AccountFacts:
    return AccountFacts(UUID(int=2), active, pixel, confirmed, ANA, [ANA, BIA])


def number(dataset: str | None = OWN, held: Held | None = NUMBER_TOKEN) -> NumberFacts:
    return NumberFacts("55", "66", dataset, held)


@pytest.mark.parametrize(
    ("found", "on", "dataset", "source", "missing"),
    [
        pytest.param(account(OWN), number(), OWN, "account", (), id="the account's, linked"),
        pytest.param(account(), number(), OWN, "waba", (), id="none chosen"),
        pytest.param(account(SITE), number(), OWN, "waba", ("pixel_not_linked",), id="not linked"),
        pytest.param(
            account(SITE, confirmed=True), number(), SITE, "account", (), id="not linked, confirmed"
        ),
        pytest.param(account(THEIRS, confirmed=True), number(), OWN, "waba", (), id="another number's own"),
        pytest.param(
            account(SITE), number(None), None, None, ("no_dataset", "pixel_not_linked"), id="nothing usable"
        ),
        pytest.param(None, number(), OWN, "waba", (), id="account unknown"),
        pytest.param(
            account(OWN, active=False), number(), None, None, ("account_inactive",), id="account off"
        ),
        pytest.param(account(OWN), None, None, None, ("number_unknown",), id="number unknown"),
        pytest.param(None, number(None), None, None, ("no_dataset",), id="no dataset at all"),
    ],
)
def test_the_dataset(
    found: AccountFacts | None,
    on: NumberFacts | None,
    dataset: str | None,
    source: str | None,
    missing: tuple[str, ...],
):
    route = choose(found, on, [profile(ANA)], others_datasets=frozenset({THEIRS}))
    assert (route.dataset_id, route.source, route.missing) == (dataset, source, missing)
    assert route.is_open == (dataset is not None)


def owners(route_tokens: tuple[Held, ...]) -> list[str]:
    names = {str(ANA): "Ana", str(BIA): "Bia", str(CAIO): "Caio", "55": "number"}
    return [names[each.owner_id] for each in route_tokens]


def test_the_whatsapps_own_dataset_takes_the_numbers_token_first():
    people = [profile(BIA), profile(CAIO), profile(ANA)]
    assert owners(choose(account(), number(), people).tokens) == ["number", "Ana", "Bia"]
    assert owners(choose(account(OWN), number(), people).tokens) == ["number", "Ana", "Bia"]
    confirmed = account(SITE, confirmed=True)
    assert owners(choose(confirmed, number(), people).tokens) == ["Ana", "Bia", "number"]


def test_a_profile_that_does_not_see_the_account_is_not_asked():
    assert owners(choose(account(), number(held=None), [profile(CAIO), profile(BIA)]).tokens) == ["Bia"]
    route = choose(account(), number(held=None), [profile(CAIO)])
    assert (route.missing, route.is_open) == (("no_token",), False)


def test_without_an_account_only_those_who_may_send_events_are_asked():
    people = [profile(ANA), profile(BIA, "whatsapp_business_manage_events")]
    assert owners(choose(None, number(held=None), people).tokens) == ["Bia"]
