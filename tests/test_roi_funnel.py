"""The funnel says why a step is more than the one before it."""

import pytest

from whatrack.roi.ask import Basis
from whatrack.roi.report import Funnel
from whatrack.web.pages.roi_filters import Filters
from whatrack.web.pages.roi_funnel import STEPS, Step, steps


def shown(*counts: int, beyond_meta: int = 0, basis: Basis = "sale") -> dict[str, Step]:
    """The steps with these counts, in their order."""
    clicks, at_meta, ours, with_clid, qualified, sales = counts
    found = Funnel(clicks, at_meta, ours, with_clid, ours, qualified, sales, beyond_meta)
    return {step.key: step for step in steps(found, Filters(), basis, opens=True)}


def test_steps_that_fall_say_nothing_more():
    found = shown(100, 80, 70, 60, 20, 5)
    assert [step.more for step in found.values()] == [""] * 6
    assert [step.rate for step in found.values()] == ["", "80,0%", "87,5%", "85,7%", "33,3%", "25,0%"]
    assert found["sales"].terms == "5 de 20: 25,0%"


@pytest.mark.parametrize("basis", ["sale", "click"])
def test_each_step_that_rises_says_why_beside_it_and_where_it_is_pointed_at(basis: Basis):
    found = shown(0, 12, 13, 10, 11, 14, basis=basis)
    rising = {"meta_conversations", "conversations", "qualified", "sales"}
    assert {name for name in STEPS if found[name].more} == rising
    assert all(found[name].more in found[name].terms for name in rising)
    assert len({found[name].more for name in rising}) == len(rising)
    of_days = [name for name in rising if "antes do período" in found[name].more or "anteriores" in found[name].more]  # fmt: skip
    assert bool(of_days) == (basis == "sale")  # by click, every step is of the same clicks
    assert found["sales"].terms.startswith("14 de 11: 127,3%")


def test_conversations_beyond_metas_are_put_down_to_ads_that_it_does_not_tell_only_where_that_is_why():
    why = "não conectadas"
    assert why in shown(50, 10, 13, 9, 2, 1, beyond_meta=3)["conversations"].more
    assert why not in shown(50, 10, 14, 9, 2, 1, beyond_meta=3)["conversations"].more
