"""The made-up world: a dental clinic and an agency, four ad accounts, three people, two WhatsApp numbers.

Everything follows from the seed and from the day it is built. It holds what real portfolios hold: an account two people
share, another currency, zones that change their day at other hours, a disabled account, paused, archived and deleted ads, a
website pixel beside a WhatsApp dataset, a WhatsApp account that has no dataset yet, a person who sees nothing.
"""

from collections.abc import Mapping
from datetime import timedelta

from whatrack.sandbox import chance
from whatrack.sandbox.clock import Clock
from whatrack.sandbox.state import (
    AD,
    AD_SET,
    CAMPAIGN,
    AdAccount,
    AdObject,
    App,
    Business,
    Creative,
    Dataset,
    Number,
    Person,
    Token,
    Waba,
    World,
)

DAYS_OF_HISTORY = 120
DAY_S = 86_400
ADS_SCOPES = ("ads_read", "ads_management", "business_management")
WHATSAPP_SCOPES = (
    "whatsapp_business_management",
    "whatsapp_business_messaging",
    "whatsapp_business_manage_events",
)

# Campaign: name, status, ad sets: (name, status, ads: (name, status, headline)).
_AdPlan = tuple[str, str, str]
_SetPlan = tuple[str, str, tuple[_AdPlan, ...]]
_CampaignPlan = tuple[str, str, tuple[_SetPlan, ...]]
CLINIC: tuple[_CampaignPlan, ...] = (
    (
        "Implantes · Mensagens",
        "ACTIVE",
        (
            (
                "Mulheres 35-55 · Zona Sul",
                "ACTIVE",
                (
                    ("Sorriso novo · vídeo", "ACTIVE", "Seu sorriso de volta em um dia"),
                    ("Antes e depois · imagem", "ACTIVE", "Veja o antes e depois"),
                ),
            ),
            (
                "Semelhantes 1%",
                "ACTIVE",
                (
                    ("Depoimento Dona Lúcia", "ACTIVE", "Dona Lúcia voltou a sorrir"),
                    ("Carrossel preços", "PAUSED", "Implante em 12 vezes"),
                ),
            ),
        ),
    ),
    (
        "Clareamento · Mensagens",
        "ACTIVE",
        (
            (
                "Interesse estética",
                "ACTIVE",
                (
                    ("Clareamento R$ 499", "ACTIVE", "Clareamento por R$ 499"),
                    ("Status · clareamento", "ACTIVE", "Dentes brancos para o verão"),
                ),
            ),
        ),
    ),
    (
        "Institucional",
        "PAUSED",
        (("Brasil 25-65", "ACTIVE", (("Conheça a clínica", "ACTIVE", "30 anos cuidando de você"),)),),
    ),
    (
        "Natal passado",
        "ARCHIVED",
        (("Clientes antigos", "ACTIVE", (("Vale-presente", "ACTIVE", "Dê um sorriso"),)),),
    ),
    ("Teste (apagado)", "DELETED", (("Teste", "ACTIVE", (("Rascunho", "ACTIVE", "Rascunho"),)),)),
)
SMALL: tuple[_CampaignPlan, ...] = (
    (
        "Mensagens WhatsApp",
        "ACTIVE",
        (
            (
                "Público aberto",
                "ACTIVE",
                (
                    ("Oferta da semana", "ACTIVE", "Oferta da semana"),
                    ("Chamada direta", "ACTIVE", "Fale com a gente agora"),
                ),
            ),
        ),
    ),
    (
        "Remarketing",
        "PAUSED",
        (("Visitantes 30 dias", "PAUSED", (("Volte aqui", "PAUSED", "Esqueceu de nós?"),)),),
    ),
)
# Name, currency, zone, status, plan.
ACCOUNTS = (
    ("Clínica Sorriso", "BRL", "America/Sao_Paulo", 1, CLINIC),
    ("Clínica Sorriso Manaus", "BRL", "America/Manaus", 1, SMALL),
    ("Horizonte US", "USD", "America/New_York", 3, SMALL),
    ("Horizonte Tóquio", "JPY", "Asia/Tokyo", 2, SMALL),
)


class Cast:
    """Who and what has a fixed part in the world, so that nobody has to look for it."""

    def __init__(self, world: World) -> None:
        def named(what: str, length: int = 16, prefix: str = "1") -> str:
            return chance.digits(length, world.seed, what, prefix=prefix)

        self.ads_app = world.add(App(named("ads app", 15), chance.letters(32, world.seed, "ads secret").lower(), "WhaTrack Ads"))  # fmt: skip
        self.whatsapp_app = world.add(App(named("wa app", 15), chance.letters(32, world.seed, "wa secret").lower(), "WhaTrack WhatsApp"))  # fmt: skip
        self.clinic = world.add(Business(named("clinic", 15), "Clínica Sorriso Ltda"))
        self.agency = world.add(Business(named("agency", 15), "Agência Horizonte"))
        self.thiago = world.add(Person(named("thiago", 17), "Thiago Gontijo"))
        self.viviane = world.add(Person(named("viviane", 17), "Viviane Borges"))
        self.carla = world.add(Person(named("carla", 17), "Carla sem contas"))
        self.system_user = world.add(Person(named("system", 15), "WhaTrack (usuário do sistema)", is_system=True))  # fmt: skip
        self.waba = world.add(Waba(named("waba", 15), "Clínica Sorriso", self.clinic.id))
        self.other_waba = world.add(Waba(named("other waba", 15), "Agência Horizonte", self.agency.id))
        self.number = world.add(Number(named("number", 15), self.waba.id, "551135550100", "+55 11 3555-0100", "Clínica Sorriso"))  # fmt: skip
        self.other_number = world.add(Number(named("other number", 15), self.other_waba.id, "12125550142", "+1 212-555-0142", "Agência Horizonte"))  # fmt: skip


def build_world(seed: int, clock: Clock) -> tuple[World, Cast]:
    """The world as it is before anybody touches it."""
    world = World(seed, clock)
    cast = Cast(world)
    cast.ads_app.configurations["configuration-ads"] = (*ADS_SCOPES, *WHATSAPP_SCOPES)
    businesses = (cast.clinic, cast.clinic, cast.agency, cast.agency)
    numbers = (cast.number, cast.number, cast.other_number, cast.other_number)
    for place, (name, currency, zone, status, plan) in enumerate(ACCOUNTS):
        account = AdAccount(
            chance.digits(15, seed, "account", place, prefix="2"),
            name,
            currency,
            zone,
            businesses[place].id,
            clock() - 2 * DAYS_OF_HISTORY * DAY_S,
            status,
        )
        world.add(account)
        _add_campaigns(world, account, plan, numbers[place].id)
    one, two, three, four = (account.id for account in world.all(AdAccount))
    _add_datasets(world, cast, one, two, three, four)
    cast.thiago.account_ids, cast.thiago.business_ids = (
        [one, two, three],
        [cast.clinic.id, cast.agency.id],
    )
    cast.viviane.account_ids, cast.viviane.business_ids = [one, four], [cast.agency.id]
    cast.system_user.account_ids, cast.system_user.business_ids = [], [cast.clinic.id, cast.agency.id]
    return world, cast


def _add_datasets(world: World, cast: Cast, one: str, two: str, three: str, four: str) -> None:
    def dataset(what: str, name: str, business: Business, *accounts: str) -> Dataset:
        return world.add(
            Dataset(chance.digits(16, world.seed, what, prefix="7"), name, business.id, list(accounts))
        )

    dataset("site", "Pixel do site", cast.clinic, one)
    messages = dataset("messages", f"{cast.waba.name} Event Data", cast.clinic, one)
    messages.waba_id, cast.waba.dataset_id = cast.waba.id, messages.id
    loose = dataset("loose", "Eventos antigos (CRM)", cast.clinic, one, two)
    loose.waba_id, loose.checks_clicks = cast.waba.id, False
    dataset("agency site", "Pixel Horizonte", cast.agency, three, four)


def add_account(world: World, name: str, business_id: str, number_id: str) -> AdAccount:
    """One more ad account, with two campaigns."""
    place = sum(1 for _ in world.all(AdAccount))
    account = world.add(
        AdAccount(
            chance.digits(15, world.seed, "account", place, prefix="2"),
            name,
            "BRL",
            "America/Sao_Paulo",
            business_id,
            world.clock() - DAYS_OF_HISTORY * DAY_S,
        )
    )
    _add_campaigns(world, account, SMALL, number_id)
    return account


def _add_campaigns(world: World, account: AdAccount, plan: tuple[_CampaignPlan, ...], number_id: str) -> None:
    for campaign_name, campaign_status, ad_sets in plan:
        objective = {"objective": "OUTCOME_ENGAGEMENT", "buying_type": "AUCTION", "special_ad_categories": []}
        campaign = _add_object(
            world, CAMPAIGN, account, account.id, campaign_name, campaign_status, objective
        )
        for set_name, set_status, ads in ad_sets:
            aim = {
                "optimization_goal": "CONVERSATIONS",
                "billing_event": "IMPRESSIONS",
                "destination_type": "WHATSAPP",
                "daily_budget": str(chance.between(3, 20, world.seed, set_name) * 1000),
                "targeting": {"geo_locations": {"countries": ["BR"]}, "age_min": 25, "age_max": 65},
            }
            ad_set = _add_object(world, AD_SET, account, campaign.id, set_name, set_status, aim)
            for ad_name, ad_status, headline in ads:
                _add_ad(world, account, ad_set, (ad_name, ad_status, headline), number_id)


def _add_ad(world: World, account: AdAccount, ad_set: AdObject, plan: _AdPlan, number_id: str) -> None:
    name, status, headline = plan
    page = chance.digits(15, world.seed, "page", account.business_id)
    post = f"{page}_{chance.digits(15, world.seed, 'post', account.id, name)}"
    creative = Creative(
        chance.digits(18, world.seed, "creative", account.id, ad_set.id, name, prefix="1203"),
        f"{name} · criativo",
        account.id,
        post,
        headline,
        "Fale com a gente no WhatsApp",
        "video" if "vídeo" in name else "image",
    )
    world.add(creative)
    _add_object(
        world,
        AD,
        account,
        ad_set.id,
        name,
        status,
        {"creative_id": creative.id, "number_id": number_id},
    )


def _add_object(
    world: World,
    kind: str,
    account: AdAccount,
    parent_id: str,
    name: str,
    status: str,
    details: Mapping[str, object],
) -> AdObject:
    clock, seed = world.clock, world.seed
    now = clock()
    created = (
        now - DAYS_OF_HISTORY * DAY_S + chance.between(0, 20 * DAY_S, seed, kind, account.id, parent_id, name)
    )
    node = AdObject(
        kind=kind,
        id=chance.digits(18, seed, kind, account.id, parent_id, name, prefix="1202"),
        name=name,
        account_id=account.id,
        parent_id=parent_id,
        status=status,
        created_at=created,
        updated_at=min(now, created + 10 * DAY_S),
        first_day=clock.today(account.zone) - timedelta(days=DAYS_OF_HISTORY - 20),
        details=dict(details),
    )
    world.add(node)
    if (
        world.effective_status(node) == "ACTIVE"
    ):  # somebody touched it these days: incremental readers find it
        node.updated_at = now - chance.between(3600, 10 * DAY_S, seed, "updated", node.id)
    else:  # what is off now ran until some weeks ago
        node.last_day = clock.today(account.zone) - timedelta(
            days=chance.between(15, 50, seed, "ended", node.id)
        )
    return node


def issue_token(
    world: World,
    app: App,
    person: Person | None,
    scopes: tuple[str, ...],
    lifetime_s: float | None,
    *,
    kind: str = "USER",
) -> Token:
    """A token for the person's part in the app; lifetime_s None: it never expires. The grants follow."""
    now = world.clock()
    number = world.serial()
    token = Token(
        value="EAA" + chance.letters(180, world.seed, "token", app.id, number),
        app_id=app.id,
        person_id=person.id if person else None,
        kind=kind,
        scopes=scopes,
        issued_at=now,
        expires_at=0 if lifetime_s is None else now + lifetime_s,
        data_access_expires_at=now + 90 * DAY_S,
    )
    world.tokens[token.value] = token
    if person:
        granted = world.grants.setdefault((app.id, person.id), {})
        granted.update(dict.fromkeys(scopes, "granted"))
    return token
