"""Webhook bodies of an invented but realistic traffic: the same numbers give the same people here and in population.py."""

import random
from collections.abc import Iterator
from typing import Any

import msgspec

FIRST_NAMES = (
    "Ana", "Bruno", "Camila", "Diego", "Eduarda", "Felipe", "Gabriela", "Heitor", "Isabela", "João",
    "Karina", "Lucas", "Mariana", "Natália", "Otávio", "Patrícia", "Rafael", "Sofia", "Tiago", "Vitória",
)  # fmt: skip
LAST_NAMES = (
    "Almeida", "Barbosa", "Cardoso", "Dias", "Esteves", "Ferreira", "Gonçalves", "Henrique", "Itaboraí", "Junqueira",
    "Lima", "Machado", "Nascimento", "Oliveira", "Pereira", "Queiroz", "Ribeiro", "Souza", "Teixeira", "Vasconcelos",
)  # fmt: skip
ADS = 400
HOT = 50  # people who write again and again
ONE_DAY_S = 86_400
FIRST_NEW, PER_SEED = (
    10_000_000,
    200_000,
)  # newcomers' numbers lie above everybody else's, apart for each seed


class Shop(msgspec.Struct, frozen=True):
    """An organization as a webhook sees it, and which people are its contacts: those from first_person on."""

    number: str
    waba: str
    first_person: int
    people: int


class Mix(msgspec.Struct, frozen=True):
    """What a stream of messages is made of, as shares of one."""

    new: float = 0.15
    hot: float = 0.15
    referral: float = 0.60
    late: float = 0.10


def wa_id(person: int) -> str:
    """The person's mobile in São Paulo."""
    return f"5511{900_000_000 + person:09d}"


def user_id(person: int) -> str:
    """The person's business-scoped user id."""
    return f"BR.{person:015d}"


def name(person: int) -> str:
    """The person's WhatsApp name."""
    return (
        f"{FIRST_NAMES[person % len(FIRST_NAMES)]} {LAST_NAMES[person // len(FIRST_NAMES) % len(LAST_NAMES)]}"
    )


def ad_id(place: int) -> str:
    """The id of one of the ads."""
    return f"1202263058548{place:05d}"


class Source(msgspec.Struct, frozen=True):
    """Where a stream of messages comes from. Equal sources give equal streams; another seed gives other wamids, other
    clicks and other newcomers. now: seconds since 1970."""

    shops: tuple[Shop, ...]
    seed: int
    now: int
    mix: Mix = Mix()

    def open(self) -> "Stream":
        """The stream, from its first message."""
        return Stream(self)


class Stream:
    """Messages of one traffic mix, each with a wamid of its own."""

    def __init__(self, source: Source) -> None:
        self._shops, self._mix, self._now, self._seed = source.shops, source.mix, source.now, source.seed
        self._random = random.Random(source.seed)
        self._next_new = FIRST_NEW + PER_SEED * source.seed
        self._count = 0

    def bodies(self, deliveries: int, per_delivery: int = 1) -> Iterator[bytes]:
        """Bodies with so many messages each, every message in a change of its own, all of one number."""
        for _ in range(deliveries):
            shop = self._random.choice(self._shops)
            yield envelope(shop, [self._change(shop) for _ in range(per_delivery)])

    def message(self, shop: Shop) -> tuple[str, bytes]:
        """The wamid and body of one message."""
        change = self._change(shop)
        wamid: str = change["value"]["messages"][0]["id"]
        return wamid, envelope(shop, [change])

    def _change(self, shop: Shop) -> dict[str, Any]:
        self._count += 1
        person = self._person(shop)
        late = self._random.random() < self._mix.late
        at = self._now - (self._random.randrange(ONE_DAY_S, 6 * ONE_DAY_S) if late else 0)
        referral = referral_of(self._random) if self._random.random() < self._mix.referral else None
        return change(shop, person, at, f"{self._seed:04d}{self._count:09d}", referral)

    def _person(self, shop: Shop) -> int:
        dice = self._random.random()
        if dice < self._mix.new:
            self._next_new += 1
            return self._next_new
        reach = min(HOT, shop.people) if dice < self._mix.new + self._mix.hot else shop.people
        return shop.first_person + self._random.randrange(reach)


def envelope(shop: Shop, changes: list[dict[str, Any]]) -> bytes:
    """A whole body."""
    return msgspec.json.encode(
        {"object": "whatsapp_business_account", "entry": [{"id": shop.waba, "changes": changes}]}
    )


def change(shop: Shop, person: int, at: int, key: str, referral: dict[str, Any] | None) -> dict[str, Any]:
    """One inbound text message as Meta sends it."""
    message = {
        "from": wa_id(person),
        "from_user_id": user_id(person),
        "id": f"wamid.HBgNNTUxMTk4NzY1NDMyMRUCABIYFDNB{key}AA==",
        "timestamp": str(at),
        "type": "text",
        "text": {
            "body": "Olá! Vi o anúncio e tenho interesse. Vocês atendem no sábado de manhã? Qual o valor?"
        },
    }
    if referral:
        message["referral"] = referral
    contact = {"profile": {"name": name(person)}, "wa_id": wa_id(person), "user_id": user_id(person)}
    value = {**_head(shop), "contacts": [contact], "messages": [message]}
    return {"value": value, "field": "messages"}


def referral_of(dice: random.Random) -> dict[str, Any]:
    """A tap on one of the ads."""
    clid = "".join(dice.choices("ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz0123456789_-", k=130))
    return {
        "source_url": "https://fb.me/3cr4Wqqkv",
        "source_id": ad_id(dice.randrange(ADS)),
        "source_type": "ad",
        "body": "Clareamento a laser com 30% de desconto até sexta-feira. Agende sua avaliação sem custo.",
        "headline": "Fale com a Clínica Sorriso no WhatsApp",
        "media_type": "image",
        "image_url": f"https://scontent.xx.fbcdn.net/v/t45.1-4/{dice.getrandbits(48):015d}_n.jpg?_nc_cat=105&ccb=1-7",
        "thumbnail_url": f"https://scontent.xx.fbcdn.net/v/t45.1-4/{dice.getrandbits(48):015d}_t.jpg?_nc_cat=105",
        "ctwa_clid": "Aff-" + clid,
        "welcome_message": {"text": "Olá! Como podemos ajudar?"},
    }


def status(shop: Shop, person: int, at: int, key: str, word: str) -> bytes:
    """The body of one status of a message the business sent."""
    told = {
        "id": f"wamid.HBgNNTUxMTk4NzY1NDMyMRUCABEYEjlB{key}AA==",
        "status": word,
        "timestamp": str(at),
        "recipient_id": wa_id(person),
        "recipient_user_id": user_id(person),
        "conversation": {"id": f"c0nv{key}", "origin": {"type": "service"}},
        "pricing": {"billable": True, "pricing_model": "PMP", "type": "regular", "category": "service"},
    }
    value = {**_head(shop), "statuses": [told]}
    return envelope(shop, [{"value": value, "field": "messages"}])


def _head(shop: Shop) -> dict[str, Any]:
    metadata = {"display_phone_number": "551135550100", "phone_number_id": shop.number}
    return {"messaging_product": "whatsapp", "metadata": metadata}
