"""People who tap ads and write: the webhooks that come of it, and the true answer to compare with.

Everything follows from the seed and the number of the play. A tap issues the click id that events may later name.
Source: Meta, "Text messages webhook reference" (referral), "Business-scoped user ids", read 2026-11.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from whatrack.sandbox import chance
from whatrack.sandbox.clock import day_of
from whatrack.sandbox.sender import as_meta_writes
from whatrack.sandbox.state import AD, AdAccount, AdObject, Click, Creative, Number, World

DEAD = "https://scontent.example.invalid"  # nobody answers there
FIRST_NAMES = (
    "Ana",
    "Bruno",
    "Carla",
    "Davi",
    "Elisa",
    "Fábio",
    "Gabi",
    "Hugo",
    "Íris",
    "João",
    "Lúcia",
    "Marcos",
)
LAST_NAMES = ("Prado", "Lima", "Dias", "Rocha", "Melo", "Nunes", "Souza", "Reis", "Araújo", "Conceição")
OPENINGS = (
    "Olá! Tenho interesse e queria mais informações, por favor.",
    "Oi, vi o anúncio. Quanto custa?",
    "Boa tarde, vocês atendem convênio? 😀",
    "Quero agendar uma avaliação",
    "Tem horário no sábado? Pode ser às 10h/11h",
)
CHATTER = (
    "Certo!",
    "E parcela em quantas vezes?",
    "Pode ser amanhã de manhã",
    "Qual o endereço?",
    "100% decidido 👍",
)


@dataclass(frozen=True)
class Plan:
    """What happens. Shares are from 0 to 1.

    span_s: how far back from now the taps lie. organic: write without an ad. in_status: tapped in WhatsApp Status, where there
    is no click id. empty_clid: the click id comes as "". post: came from a post, which is no ad. again: tap a second ad later. no_phone: known by a business-scoped id alone. duplicates: deliveries that
    come twice. shuffle: deliveries leave out of order. batch: most messages in one delivery (Meta's most is 1,000). chatter: later
    messages each. strange: later messages of a type, and deliveries with a field, that nobody knows. padding: kB that each
    delivery is longer (Meta's most is 3 MB).
    """

    ad_ids: Sequence[str]
    people: int = 10
    span_s: int = 4 * 3600
    organic: float = 0.15
    in_status: float = 0.1
    empty_clid: float = 0.0
    post: float = 0.05
    again: float = 0.2
    no_phone: float = 0.0
    duplicates: float = 0.1
    shuffle: bool = True
    batch: int = 3
    chatter: int = 2
    statuses: bool = False
    strange: float = 0.0
    padding: int = 0


@dataclass
class Contact:
    """The truth about one person: every touch in the order of time, the last of which gets the credit."""

    wa_id: str | None
    user_id: str
    name: str
    number_id: str
    touches: list[dict[str, Any]] = field(default_factory=list)
    messages: int = 0

    @property
    def last_ad_id(self) -> str | None:
        """The ad that gets the credit; None: nobody's ad brought them."""
        return self.touches[-1]["ad_id"] if self.touches else None

    @property
    def last_clid(self) -> str | None:
        """The click id of the last touch, if it had one."""
        return self.touches[-1]["ctwa_clid"] if self.touches else None

    def as_json(self) -> dict[str, Any]:
        """As the admin API tells it."""
        return {**asdict(self), "last_ad_id": self.last_ad_id, "ctwa_clid": self.last_clid}


@dataclass(frozen=True)
class Delivery:
    """One POST: its body, and the number it is about."""

    number_id: str
    body: bytes


@dataclass(frozen=True)
class Story:
    """What a play gave: deliveries in the order they leave, and the truth about its people."""

    deliveries: list[Delivery]
    contacts: list[Contact]

    @property
    def bodies(self) -> list[bytes]:
        """The bodies alone."""
        return [each.body for each in self.deliveries]


@dataclass(frozen=True)
class _Said:
    at: int
    contact: Contact
    message: dict[str, Any]


class Traffic:
    """All plays so far. contacts: the truth over all of them."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._plays = 0
        self.contacts: list[Contact] = []

    def tap(self, ad_id: str, wa_id: str, at: float, *, in_status: bool = False) -> Click:
        """Somebody taps an ad: a click id is issued, unless the ad stood in WhatsApp Status."""
        world = self._world
        ad = world.get(AdObject, ad_id)
        if ad.kind != AD:
            raise KeyError(ad_id)
        clid = None if in_status else "Af" + chance.letters(110, world.seed, "clid", world.serial())
        click = Click(clid, ad_id, ad.details["number_id"], wa_id, at)
        world.record_click(click, day_of(at, world.get(AdAccount, ad.account_id).zone))
        return click

    def play(self, plan: Plan) -> Story:
        """Let people tap and write."""
        self._plays += 1
        said = [each for person in range(plan.people) for each in self._person(plan, person)]
        said.sort(key=lambda each: (each.at, each.message["id"]))
        deliveries = self._deliveries(plan, said)
        contacts = list({id(each.contact): each.contact for each in said}.values())
        self.contacts += contacts
        return Story(deliveries, contacts)

    def _fraction(self, *name: object) -> float:
        return chance.fraction(self._world.seed, "play", self._plays, *name)

    def _between(self, low: int, high: int, *name: object) -> int:
        return chance.between(low, high, self._world.seed, "play", self._plays, *name)

    def _person(self, plan: Plan, person: int) -> list[_Said]:
        """Everything one person writes."""
        world, seed = self._world, self._world.seed
        ad_id = chance.pick(plan.ad_ids, seed, "ad", self._plays, person)
        key = (self._plays, person)
        phone = f"55{chance.pick(('11', '21', '31', '41', '85'), seed, 'area', *key)}9{chance.digits(8, seed, 'phone', *key, prefix='8')}"
        name = (
            f"{chance.pick(FIRST_NAMES, seed, 'first', *key)} {chance.pick(LAST_NAMES, seed, 'last', *key)}"
        )
        contact = Contact(
            wa_id=None if self._fraction("no phone", person) < plan.no_phone else phone,
            user_id="BR." + chance.digits(20, seed, "user", *key),
            name=name,
            number_id=world.get(AdObject, ad_id).details["number_id"],
        )
        at = int(world.clock()) - self._between(plan.span_s // 4, plan.span_s, "at", person)
        opening = chance.pick(OPENINGS, seed, "opening", *key)
        organic = self._fraction("organic", person) < plan.organic
        said = [
            self._says(
                contact, at, opening, None if organic else self._touch(plan, contact, ad_id, at, phone)
            )
        ]
        for step in range(self._between(0, plan.chatter, "chatter", person)):
            at += self._between(20, max(21, plan.span_s // 20), "pause", person, step)
            later = self._says(contact, at, chance.pick(CHATTER, seed, "chatter", *key, step), None)
            if self._fraction("strange", person, step) < plan.strange:
                _make_strange(later.message)
            said.append(later)
        if not organic and self._fraction("again", person) < plan.again:
            at += self._between(30, max(31, plan.span_s // 20), "again at", person)
            said.append(self._again(plan, contact, person, at, phone))
        return said

    def _again(self, plan: Plan, contact: Contact, person: int, at: int, phone: str) -> _Said:
        same = [
            each
            for each in plan.ad_ids
            if self._world.get(AdObject, each).details["number_id"] == contact.number_id
        ]
        other = chance.pick(same, self._world.seed, "other ad", self._plays, person)
        return self._says(
            contact, at, "Vi outro anúncio de vocês", self._touch(plan, contact, other, at, phone)
        )

    def _touch(self, plan: Plan, contact: Contact, ad_id: str, at: int, phone: str) -> dict[str, Any]:
        """A tap some seconds before a message; the referral it brings."""
        if self._fraction("post", phone, at) < plan.post:
            contact.touches.append({"ad_id": None, "ctwa_clid": None, "at": at})
            return post_referral(self._world, ad_id)
        in_status = self._fraction("in status", phone, at) < plan.in_status
        empty = self._fraction("empty", phone, at) < plan.empty_clid
        click = self.tap(ad_id, phone, at - 15, in_status=in_status or empty)
        contact.touches.append({"ad_id": ad_id, "ctwa_clid": click.clid, "at": at})
        return {**referral(self._world, click), **({"ctwa_clid": ""} if empty else {})}

    def _says(self, contact: Contact, at: int, text: str, referred: dict[str, Any] | None) -> _Said:
        contact.messages += 1
        serial = self._world.serial()
        message: dict[str, Any] = {
            **({"from": contact.wa_id} if contact.wa_id else {}),
            "from_user_id": contact.user_id,
            "id": "wamid." + chance.letters(48, self._world.seed, "wamid", serial),
            "timestamp": str(at),
        }
        if serial % 7 == 0:
            image = {
                "id": chance.digits(16, self._world.seed, "media", serial),
                "mime_type": "image/jpeg",
                "sha256": "x",
                "caption": text,
            }
            message |= {"type": "image", "image": image}
        else:
            message |= {"type": "text", "text": {"body": text}}
        if referred:
            message["referral"] = referred
        return _Said(at, contact, message)

    def _deliveries(self, plan: Plan, said: list[_Said]) -> list[Delivery]:
        """Messages in batches of one number's, some of them twice, out of order if so planned."""
        found: list[Delivery] = []
        for number_id in dict.fromkeys(each.contact.number_id for each in said):
            mine = [each for each in said if each.contact.number_id == number_id]
            place = 0
            while place < len(mine):
                size = self._between(1, max(1, plan.batch), "size", number_id, place)
                found.append(self._delivery(number_id, mine[place : place + size], plan))
                place += size
        twice = [each for place, each in enumerate(found) if self._fraction("twice", place) < plan.duplicates]
        if plan.shuffle:
            order = sorted(range(len(found)), key=lambda place: place + 4 * self._fraction("late", place))
            found = [found[place] for place in order]
        return [*found, *twice]

    def _delivery(self, number_id: str, said: list[_Said], plan: Plan) -> Delivery:
        number = self._world.get(Number, number_id)
        values = [value_of(number, messages=[each.message for each in said], contacts=_people(said))]
        if plan.statuses:
            values += [
                status_value(
                    number, each.contact.wa_id or "", f"{each.message['id']}-answer", "delivered", each.at + 5
                )
                for each in said
            ]
        if plan.padding:
            values[0]["padding"] = "x" * (1000 * plan.padding)
        changes = [("messages", value) for value in values]
        if self._fraction("strange field", number_id, said[0].message["id"]) < plan.strange:
            changes.append(("unheard_of_update", value_of(number, unheard_of=[{"id": "1"}])))
        return Delivery(number_id, _envelope(number, changes))


def picture_of(world: World, ad: AdObject) -> str:
    """The link to an ad's picture; a dead one where nobody serves pictures."""
    creative_id = ad.details["creative_id"]
    if world.pictures_at is None:
        return f"{DEAD}/{creative_id}.jpg?oe=6A0B1C2D"
    return f"{world.pictures_at}/_sandbox/pictures/{creative_id}.png"


def referral(world: World, click: Click) -> dict[str, Any]:
    """What the first message after a tap says about the ad."""
    ad = world.get(AdObject, click.ad_id)
    creative = world.get(Creative, ad.details["creative_id"])
    image = picture_of(world, ad)
    media = (
        {"media_type": "video", "video_url": f"{DEAD}/{creative.id}.mp4?oe=6A0B1C2D", "thumbnail_url": image}
        if creative.media_type == "video"
        else {"media_type": "image", "image_url": image}
    )
    return {
        "source_url": f"https://fb.me/{chance.letters(9, world.seed, 'link', ad.id)}",
        "source_id": ad.id,
        "source_type": "ad",
        "headline": creative.title,
        "body": creative.body,
        **media,
        **({"ctwa_clid": click.clid} if click.clid else {}),
        "welcome_message": {"text": "Olá! Como podemos ajudar?"},
    }


def post_referral(world: World, ad_id: str) -> dict[str, Any]:
    """What the first message after a post's button says: source_id is the post's, and there is no click id."""
    creative = world.get(Creative, world.get(AdObject, ad_id).details["creative_id"])
    return {
        "source_url": f"https://fb.me/{chance.letters(9, world.seed, 'post link', creative.id)}",
        "source_id": creative.post.partition("_")[2],
        "source_type": "post",
        "headline": creative.title,
        "body": creative.body,
        "media_type": "image",
    }


def _people(said: list[_Said]) -> list[dict[str, Any]]:
    people = {id(each.contact): each.contact for each in said}.values()
    return [
        {
            "profile": {"name": each.name},
            **({"wa_id": each.wa_id} if each.wa_id else {}),
            "user_id": each.user_id,
        }
        for each in people
    ]


def value_of(number: Number, **lists: list[dict[str, Any]]) -> dict[str, Any]:
    """The value of a change about this number."""
    metadata = {"display_phone_number": number.phone, "phone_number_id": number.id}
    return {"messaging_product": "whatsapp", "metadata": metadata, **lists}


def status_value(number: Number, wa_id: str, wamid: str, status: str, at: float) -> dict[str, Any]:
    """The value that tells what became of a message the business sent."""
    return value_of(
        number,
        statuses=[{"id": wamid, "status": status, "timestamp": str(int(at)), "recipient_id": wa_id}],
    )


def envelope(number: Number, *values: dict[str, Any]) -> bytes:
    """A whole body, as Meta writes it."""
    return _envelope(number, [("messages", value) for value in values])


def _make_strange(message: dict[str, Any]) -> None:
    """A message of a type that nobody knows yet."""
    for name in ("text", "image"):
        message.pop(name, None)
    message |= {"type": "unheard_of", "unheard_of": {"id": "1"}}


def _envelope(number: Number, changes: Sequence[tuple[str, dict[str, Any]]]) -> bytes:
    entry = {
        "id": number.waba_id,
        "changes": [{"field": field, "value": value} for field, value in changes],
    }
    return as_meta_writes({"object": "whatsapp_business_account", "entry": [entry]})
