"""Months of a clinic's past, and what goes on while somebody watches: who tapped, wrote, was qualified, bought, got money back.

Everything follows from the seed and the clock. Taps issue click ids with the time of the tap, so that events may name them, and
make the insights of their day. The past ends with the moment it is made; what people do later comes to pass with the clock.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from whatrack.sandbox import chance, fates
from whatrack.sandbox.build import add_account
from whatrack.sandbox.cases import AD_KIND, POST_KIND, UNIDENTIFIED, Case, Line, Touch
from whatrack.sandbox.clock import day_of
from whatrack.sandbox.delivery import Taps, deliver, is_running
from whatrack.sandbox.state import AD, AdAccount, AdObject, Click, Number, World
from whatrack.sandbox.tempers import ORGANIC, POST, TEMPERS, Temper
from whatrack.sandbox.traffic import CHATTER, FIRST_NAMES, LAST_NAMES, OPENINGS

HOUR_S, DAY_S = 3600, 86_400
FOREIGN = "Agência anterior"
TAP_BEFORE_S = 15
OPENS, CLOSES = 7, 23  # the hours in which people write
NO_CLICK_ID, NO_AD_ID, FORGOTTEN = 0.05, 0.015, 0.04
AGAIN, LATE, OTHER_SPELLING, THANKS, RETURNS = 0.08, 0.3, 0.06, 0.35, 0.08
AREAS = ("11", "11", "11", "92", "21", "31", "19")
THANK_YOU = ("Obrigada! Ficou lindo ❤️", "Muito obrigado, gente!", "Valeu, até a próxima")


class Months:
    """The cases of the past and of those who write now, in the order they began."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.cases: list[Case] = []
        self.since: date | None = None
        self._told_until = 0.0  # up to when taps are in the figures
        self._places: dict[str, int] = {}
        self._lives = 0

    def play(self, days: int = 90, *, share: float = 1.0) -> None:
        """Make the last `days` days, today included, in each account's zone. share: of the people; the spend follows them.

        Once per world. Ads that ended meanwhile, archived and deleted ones delivered while they ran.
        """
        world, now = self._world, self._world.clock()
        if self.since is not None:
            raise RuntimeError("the past was made already")
        self.since = day_of(now, "UTC") - timedelta(days=days)
        foreign = add_account(world, FOREIGN, self._account().business_id, self._number_ids()[0])
        foreign.name = FOREIGN
        made: list[Case] = []
        for account in world.all(AdAccount):
            for ad in world.below(account.id, AD):
                temper = TEMPERS.get(account.name, {}).get(ad.name)
                if temper:
                    made += self._of_ad(account, ad, temper, days, share)
        for number_id in self._number_ids():
            made += self._of_number(number_id, days, share)
        made.sort(key=lambda case: (case.opened_at, case.wa_id))
        self.cases = [replace(case, serial=place) for place, case in enumerate(made, 1)]
        taps = self._taps(0, now)
        for account in world.all(AdAccount):
            for ad in world.below(account.id, AD):
                if temper := TEMPERS.get(account.name, {}).get(ad.name):
                    deliver(world, account, ad, temper, share, past_days(account.zone, now, days), taps)
        self._told_until = now

    def come(self, people: int = 1) -> list[Case]:
        """Somebody taps or writes right now; what they do later, they do within minutes."""
        world, now = self._world, int(self._world.clock())
        found = []
        for _ in range(people):
            self._lives += 1
            name = ("live", self._lives)
            ads = self._running(now)
            place = chance.between(0, len(ads), world.seed, "live ad", *name)
            if place == len(ads):
                number_id = self._number_ids()[0]
                case = self._case(number_id, now, None, ORGANIC, name, hurry=True)
            else:
                ad, temper = ads[place]
                case = self._tapped(ad, temper, now, (ad.id, *name), hurry=True)
            found += self.add([case])
        return found

    def add(self, cases: Iterable[Case]) -> list[Case]:
        """Take up what happened outside of here; its taps are in the figures already."""
        added = [replace(case, serial=len(self.cases) + place) for place, case in enumerate(cases, 1)]
        self.cases += added
        return added

    def let_pass(self) -> None:
        """Let the figures know of the taps since they were last told; a clock that was put back tells them nothing twice."""
        world, now = self._world, self._world.clock()
        if now <= self._told_until:
            return
        for (ad_id, day), times in self._taps(self._told_until, now).items():
            key = (ad_id, day)
            world.clicks_of_day[key] = world.clicks_of_day.get(key, 0) + len(times)
        self._told_until = now

    # Who writes

    def _of_ad(
        self, account: AdAccount, ad: AdObject, temper: Temper, days: int, share: float
    ) -> Iterator[Case]:
        """Those who tapped the ad, day by day; and what they do afterwards."""
        seed, now = self._world.seed, self._world.clock()
        for day in past_days(account.zone, now, days):
            if not is_running(self._world, ad, day):
                continue
            for each in range(_count(temper.per_day * share, seed, ad.id, day)):
                name = (ad.id, day.isoformat(), each)
                at = _moment(day, account.zone, seed, *name)
                if at > now - 60:
                    continue
                case = self._tapped(ad, temper, at, name)
                yield case
                yield from self._afterwards(case, name)

    def _of_number(self, number_id: str, days: int, share: float) -> Iterator[Case]:
        """Those who wrote of themselves, or came from a post."""
        seed, now = self._world.seed, self._world.clock()
        zone = self._zone(number_id)
        scale = share if number_id == self._number_ids()[0] else share * 0.3
        for day in past_days(zone, now, days):
            for kind, temper in (("organic", ORGANIC), ("post", POST)):
                for each in range(_count(temper.per_day * scale, seed, kind, number_id, day)):
                    name = (kind, number_id, day.isoformat(), each)
                    at = _moment(day, zone, seed, *name)
                    if at > now - 60:
                        continue
                    touch = self._post(number_id, name) if kind == "post" else None
                    case = self._case(number_id, at, touch, temper, name)
                    yield case
                    yield from self._afterwards(case, name)

    def _tapped(
        self, ad: AdObject, temper: Temper, at: int, name: tuple[object, ...], *, hurry: bool = False
    ) -> Case:
        touch = self._touch(ad, temper, at, name)
        return self._case(str(ad.details["number_id"]), at, touch, temper, name, hurry=hurry)

    def _case(
        self,
        number_id: str,
        at: int,
        touch: Touch | None,
        temper: Temper,
        name: tuple[object, ...],
        *,
        hurry: bool = False,
    ) -> Case:
        """One person's conversation, from their first message."""
        seed = self._world.seed
        is_abroad = not self._world.get(Number, number_id).phone.startswith("55")
        if is_abroad:
            wa_id = (
                "1"
                + chance.pick(("212", "917", "646"), seed, "area", *name)
                + chance.digits(7, seed, "phone", *name, prefix="5")
            )
        else:
            wa_id = f"55{chance.pick(AREAS, seed, 'area', *name)}9{chance.digits(8, seed, 'phone', *name, prefix='8')}"
        who = (
            f"{chance.pick(FIRST_NAMES, seed, 'first', *name)} {chance.pick(LAST_NAMES, seed, 'last', *name)}"
        )
        case = Case(0, who, wa_id, number_id, "USD" if is_abroad else "BRL")
        place = self._places[str(name[0])] = self._places.get(str(name[0]), -1) + 1
        case.acts = fates.acts_of(temper, at, place, seed, *name, hurry=hurry)
        case.lines = [Line(at, chance.pick(OPENINGS, seed, "opening", *name), wa_id, touch)]
        if not hurry:
            case.lines += self._more(case, name)
        return case

    def _more(self, case: Case, name: tuple[object, ...]) -> list[Line]:
        """What they say later, all of it before the conversation ends: chatter, and perhaps another ad's tap."""
        seed, opened_at = self._world.seed, case.opened_at
        end = next((act.at for act in case.acts if act.what in ("won", "lost")), opened_at + 4 * DAY_S)
        short = case.wa_id[:4] + case.wa_id[5:] if case.currency == "BRL" else case.wa_id
        found = []
        for each in range(chance.between(0, 2, seed, "says", *name)):
            at = opened_at + chance.between(60, 2 * DAY_S, seed, "says at", *name, each)
            spelled = short if chance.fraction(seed, "spelled", *name, each) < OTHER_SPELLING else case.wa_id
            found.append(Line(at, chance.pick(CHATTER, seed, "chatter", *name, each), spelled))
        if chance.fraction(seed, "again", *name) < AGAIN:
            at = opened_at + chance.between(HOUR_S, 3 * DAY_S, seed, "again at", *name)
            if touch := self._other(case.number_id, at, name):
                late = chance.fraction(seed, "late", *name) < LATE
                found.append(Line(at, "Vi outro anúncio de vocês", case.wa_id, touch, late=late))
        return sorted((line for line in found if line.at < end - 60), key=lambda line: line.at)

    def _afterwards(self, case: Case, name: tuple[object, ...]) -> Iterator[Case]:
        """Buyers say thanks, which opens a ticket that is no lead; some who did not, come back by an ad weeks later."""
        seed, now = self._world.seed, self._world.clock()
        won = case.first(("won",), now)
        if won is None:
            return
        same = (case.name, case.wa_id, case.number_id, case.currency)
        if chance.fraction(seed, "thanks", *name) < THANKS:
            at = won.at + chance.between(HOUR_S, 3 * DAY_S, seed, "thanks at", *name)
            if at < now - 60:
                text = chance.pick(THANK_YOU, seed, "thank you", *name)
                yield Case(0, *same, [Line(at, text, case.wa_id)], is_lead=False)
        elif chance.fraction(seed, "returns", *name) < RETURNS / (1 - THANKS):
            at = won.at + chance.between(8 * DAY_S, 40 * DAY_S, seed, "returns at", *name)
            touch = self._other(case.number_id, at, (*name, "returned")) if at < now - 60 else None
            if touch:
                acts = fates.acts_of(ORGANIC, at, 0, seed, "returned", *name)
                yield Case(0, *same, [Line(at, "Oi, sou eu de novo 😊", case.wa_id, touch)], acts)

    # What they touched

    def _touch(self, ad: AdObject, temper: Temper, at: int, name: tuple[object, ...]) -> Touch:
        world, seed = self._world, self._world.seed
        if temper.in_status or chance.fraction(seed, "no click id", *name) < NO_CLICK_ID:
            return Touch(AD_KIND, ad.id, None)
        clid = "Af" + chance.letters(110, seed, "past clid", *name)
        kind = UNIDENTIFIED if chance.fraction(seed, "no ad id", *name) < NO_AD_ID else AD_KIND
        known = chance.fraction(seed, "forgotten", *name) >= FORGOTTEN
        if known:
            number_id = str(ad.details["number_id"])
            world.clicks[clid] = Click(clid, ad.id, number_id, "", at - TAP_BEFORE_S)
        return Touch(kind, ad.id, clid, known)

    def _other(self, number_id: str, at: int, name: tuple[object, ...]) -> Touch | None:
        """A tap on some ad of the number's that ran then; None when none did."""
        running = [(ad, temper) for ad, temper in self._running(at) if ad.details["number_id"] == number_id]
        if not running:
            return None
        ad, temper = chance.pick(running, self._world.seed, "other ad", *name)
        return self._touch(ad, temper, at, ("again", *name))

    def _post(self, number_id: str, name: tuple[object, ...]) -> Touch:
        of_number = [ad for ad, _ in self._running(None) if ad.details["number_id"] == number_id]
        return Touch(POST_KIND, chance.pick(of_number, self._world.seed, "whose post", *name).id, None)

    def _running(self, at: float | None) -> list[tuple[AdObject, Temper]]:
        """The ads that ran at a moment; None: all of them. The foreign account's are never among them."""
        found = []
        for account in self._world.all(AdAccount):
            day = None if at is None else day_of(at, account.zone)
            tempers = {} if account.name == FOREIGN else TEMPERS.get(account.name, {})
            found += [
                (ad, tempers[ad.name])
                for ad in self._world.below(account.id, AD)
                if ad.name in tempers and (day is None or is_running(self._world, ad, day))
            ]
        return found

    def _taps(self, after: float, until: float) -> Taps:
        """Taps on ads by ad and day of the ad's account, each with its moment: those after one moment, until another."""
        world, found = self._world, Taps()
        for case in self.cases:
            for line in case.lines:
                if line.touch and line.touch.kind != POST_KIND and after < line.at <= until:
                    ad = world.get(AdObject, line.touch.ad_id)
                    zone = world.get(AdAccount, ad.account_id).zone
                    found.setdefault((ad.id, day_of(line.at - TAP_BEFORE_S, zone)), []).append(line.at)
        return found

    def _account(self) -> AdAccount:
        return next(self._world.all(AdAccount))

    def _number_ids(self) -> list[str]:
        return [number.id for number in self._world.all(Number)]

    def _zone(self, number_id: str) -> str:
        is_home = number_id == self._number_ids()[0]
        return "America/Sao_Paulo" if is_home else "America/New_York"


def past_days(zone: str, now: float, days: int) -> list[date]:
    """The last so many days of a zone, today last."""
    today = day_of(now, zone)
    return [today - timedelta(days=back) for back in reversed(range(days))]


def _count(usual: float, seed: int, *name: object) -> int:
    """How many come on a day on which `usual` do on average: from none to twice as many."""
    return int(
        usual * 2 * chance.fraction(seed, "how many", *name) + chance.fraction(seed, "one more", *name)
    )


def _moment(day: date, zone: str, seed: int, *name: object) -> int:
    """Some moment of the zone's day at which people write; a few write by night."""
    start = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).astimezone(UTC).timestamp()
    low, high = (OPENS, CLOSES) if chance.fraction(seed, "by day", *name) < 0.93 else (0, 24)
    return int(start) + chance.between(low * HOUR_S + TAP_BEFORE_S, high * HOUR_S - 1, seed, "at", *name)
