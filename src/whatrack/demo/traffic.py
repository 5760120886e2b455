"""A clinic's afternoon as Meta would send it: taps on the sandbox's ads, with the click ids that it issued for them.

What it tells is among the sandbox's cases too, so that the truth is whole.
"""

from collections.abc import Iterator
from typing import Any

from whatrack.demo.player import same_person
from whatrack.sandbox.cases import AD_KIND, POST_KIND, Case, Line, Touch
from whatrack.sandbox.machine import Sandbox
from whatrack.sandbox.state import AdObject
from whatrack.sandbox.traffic import picture_of

Person = tuple[str, str]  # phone, name
Referral = dict[str, Any]

ANA, BRUNO, CARLA = (
    ("5511987650001", "Ana Prado"),
    ("551187650002", "Bruno Lima"),
    ("5521998760003", "Carla Dias"),
)
DAVI, ELISA, FABIO = (
    ("5531987650004", "Davi Rocha"),
    ("5541987650005", "Elisa Melo"),
    ("5585987650006", "Fábio Nunes"),
)
GABI, HUGO = ("551135501234", "Gabi Souza"), ("5548987650008", "Hugo Reis")
BRUNO_WITH_NINE = ("5511987650002", "Bruno Lima")
POST = {
    "source_url": "https://fb.me/3cr4Wqqkv",
    "source_id": "104857600000001",
    "source_type": "post",
    "headline": "Nosso novo consultório",
}


class Afternoon:
    """What happened until now (seconds since 1970): each click id is one that the sandbox will know again."""

    def __init__(self, sandbox: Sandbox, now: int) -> None:
        self._sandbox, self._now = sandbox, now
        number = sandbox.cast.number.id
        leading_here = [ad for ad in sandbox.ads() if ad.details["number_id"] == number]
        self.cleaning, self.whitening, self.braces = leading_here[:3]
        self._cases: dict[str, Case] = {}

    def bodies(self) -> Iterator[dict[str, Any]]:
        """The webhooks: ad clicks with and without click id, a post, a late one, a duplicate, a batch."""
        cleaning, whitening, braces = self.cleaning.id, self.whitening.id, self.braces.id
        yield self._webhook(self._tapped(ANA, 7200, "Quero agendar uma limpeza", cleaning))
        yield self._webhook(self._tapped(BRUNO, 7000, "Quanto custa o clareamento?", whitening))
        # The same person, the ninth digit now written, and a newer click: last touch moves to the other ad.
        yield self._webhook(self._tapped(BRUNO_WITH_NINE, 3600, "E o aparelho?", braces))
        # An ad in WhatsApp Status: the ad is known, the click id is not.
        yield self._webhook(self._tapped(CARLA, 6500, "Vi no status", cleaning, in_status=True))
        touch = Touch(POST_KIND, whitening, None)
        yield self._webhook(self._said(DAVI, 6000, "Vi a postagem de vocês", POST, touch))
        # Elisa's newer click arrives before her older one: the late one is kept in the story and changes nothing.
        yield self._webhook(self._tapped(ELISA, 1800, "Pode ser amanhã?", braces))
        yield self._webhook(self._tapped(ELISA, 5400, "Oi, tudo bem?", whitening))
        again = self._webhook(self._tapped(ANA, 900, "Voltei pelo anúncio", cleaning))
        yield again
        yield again  # Meta delivers at least once
        yield self._webhook(
            self._tapped(FABIO, 600, "Tem convênio?", whitening),
            self._said(GABI, 500, "Boa tarde"),
            self._said(CARLA, 400, "Consegui o horário 😀"),
            self._tapped(HUGO, 300, "Preço do aparelho?", braces),
        )

    def cases(self) -> list[Case]:
        """Who wrote, once bodies() has told it all."""
        for case in self._cases.values():
            case.lines.sort(key=lambda line: line.at)
        return list(self._cases.values())

    def _tapped(
        self, person: Person, ago: int, text: str, ad_id: str, *, in_status: bool = False
    ) -> dict[str, Any]:
        """The message that follows a tap on an ad, with its referral."""
        click = self._sandbox.traffic.tap(ad_id, person[0], self._now - ago, in_status=in_status)
        names = {
            self.cleaning.id: "Limpeza a R$ 99",
            self.whitening.id: "Clareamento",
            self.braces.id: "Aparelho",
        }
        referral = {"source_url": "https://fb.me/3cr4Wqqkv", "source_id": ad_id, "source_type": "ad", "headline": names[ad_id],
                    "body": "Fale com a gente no WhatsApp", "media_type": "image",
                    "image_url": picture_of(self._sandbox.world, self._sandbox.world.get(AdObject, ad_id))}  # fmt: skip
        touch = Touch(AD_KIND, ad_id, click.clid)
        return self._said(
            person, ago, text, {**referral, **({"ctwa_clid": click.clid} if click.clid else {})}, touch
        )

    def _said(
        self,
        person: Person,
        ago: int,
        text: str,
        referral: Referral | None = None,
        touch: Touch | None = None,
    ) -> dict[str, Any]:
        """One text message; `name` is taken out again by _webhook()."""
        phone, name = person
        at = self._now - ago
        number_id = self._sandbox.cast.number.id
        case = self._cases.setdefault(same_person(phone), Case(0, name, phone, number_id, "BRL"))
        case.lines.append(Line(at, text, phone, touch))
        found = {
            "from": phone,
            "id": f"wamid.{phone}.{at}",
            "timestamp": str(at),
            "type": "text",
            "text": {"body": text},
        }
        return {"name": name, **found, **({"referral": referral} if referral else {})}

    def _webhook(self, *messages: dict[str, Any]) -> dict[str, Any]:
        """A body with these messages, each with its contact, for the sandbox's number."""
        number = self._sandbox.cast.number
        contacts = [{"profile": {"name": each.pop("name")}, "wa_id": each["from"]} for each in messages]
        value = {
            "messaging_product": "whatsapp",
            "metadata": {"display_phone_number": number.display, "phone_number_id": number.id},
            "contacts": contacts,
            "messages": list(messages),
        }
        change = {"field": "messages", "value": value}
        return {
            "object": "whatsapp_business_account",
            "entry": [{"id": self._sandbox.cast.waba.id, "changes": [change]}],
        }
