"""How the ads of the made-up world fare: what a person who taps costs, and how many of them buy for how much.

Some earn and some lose, by so much that any week shows it. Money is in minor units of the account's currency; rates are shares
of those who write, from 0 to 1; ROAS is about win × value ÷ cost.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Temper:
    """per_day: people who tap and write on a usual day. cost: spend for each of them. qualify: those who do not buy, and qualify.

    in_status: the ad stands in WhatsApp Status, where taps have no click id.
    """

    per_day: float
    cost: int
    qualify: float
    win: float
    value: tuple[int, int]
    in_status: bool = False


# Account's name → ad's name.
TEMPERS: dict[str, dict[str, Temper]] = {
    "Clínica Sorriso": {
        "Sorriso novo · vídeo": Temper(4.5, 2300, 0.35, 0.15, (49_000, 140_000)),  # about 6
        "Antes e depois · imagem": Temper(3.5, 2700, 0.30, 0.10, (39_000, 89_000)),  # about 2.4
        "Depoimento Dona Lúcia": Temper(
            4.0, 3600, 0.12, 0.012, (19_000, 39_000)
        ),  # about 0.1, and what other ads' people bring
        "Carrossel preços": Temper(2.5, 2600, 0.20, 0.06, (39_000, 79_000)),
        "Clareamento R$ 499": Temper(5.0, 1100, 0.30, 0.13, (49_900, 74_000)),  # about 7
        "Status · clareamento": Temper(2.5, 900, 0.25, 0.06, (49_900, 62_000), in_status=True),
        "Conheça a clínica": Temper(2.0, 1900, 0.05, 0.0, (29_000, 59_000)),  # 0
        "Vale-presente": Temper(1.5, 1200, 0.20, 0.12, (19_000, 45_000)),
        "Rascunho": Temper(1.0, 1500, 0.10, 0.08, (19_000, 39_000)),
    },
    "Clínica Sorriso Manaus": {
        "Oferta da semana": Temper(3.5, 1500, 0.30, 0.12, (29_000, 69_000)),  # about 4
        "Chamada direta": Temper(2.5, 2300, 0.10, 0.015, (29_000, 49_000)),  # about 0.2
        "Volte aqui": Temper(1.5, 1100, 0.25, 0.10, (29_000, 59_000)),
    },
    "Horizonte US": {
        "Oferta da semana": Temper(2.0, 700, 0.30, 0.10, (12_000, 32_000)),  # about 3
        "Chamada direta": Temper(1.5, 900, 0.15, 0.03, (9_000, 21_000)),  # about 0.5
        "Volte aqui": Temper(1.0, 500, 0.20, 0.08, (9_000, 24_000)),
    },
    # An account that nobody here sees: the agency of before left an ad running.
    "Agência anterior": {
        "Oferta da semana": Temper(0.4, 1500, 0.25, 0.15, (29_000, 59_000)),
    },
}
# Those who write without an ad, or from a post, per number and day; the value is for the clinic's.
ORGANIC = Temper(3.0, 0, 0.35, 0.12, (19_000, 89_000))
POST = Temper(0.6, 0, 0.30, 0.10, (29_000, 69_000))
