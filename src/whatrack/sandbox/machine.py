"""The sandbox as one thing: its world, its faults, its traffic, and what a client needs to be pointed at it."""

from datetime import timedelta
from typing import Any

from whatrack.sandbox.build import ADS_SCOPES, WHATSAPP_SCOPES, build_world, issue_token
from whatrack.sandbox.clock import Clock
from whatrack.sandbox.faults import Faults
from whatrack.sandbox.graph import NEWEST, Graph
from whatrack.sandbox.history import Months
from whatrack.sandbox.oauth import LONG_LIVES_S
from whatrack.sandbox.reports import read
from whatrack.sandbox.state import AD, AdAccount, AdObject, Dataset, Token
from whatrack.sandbox.traffic import Traffic
from whatrack.sandbox.truth import Asked, Sum, sums


class Sandbox:
    """A Meta in memory. Everything follows from `seed` and `clock`."""

    def __init__(self, seed: int = 1, clock: Clock | None = None) -> None:
        self.seed = seed
        self.clock = clock or Clock()
        self.reset()

    def reset(self) -> None:
        """Begin anew: the world of the seed, no faults, no traffic. The clock goes on."""
        self.world, self.cast = build_world(self.seed, self.clock)
        self.faults = Faults()
        self.graph = Graph(self.world, self.faults)
        self.traffic = Traffic(self.world)
        self.months = Months(self.world)
        cast = self.cast
        self.token: Token = issue_token(
            self.world, cast.ads_app, cast.thiago, (*ADS_SCOPES, *WHATSAPP_SCOPES), LONG_LIVES_S
        )
        self.number_token: Token = issue_token(
            self.world, cast.whatsapp_app, cast.system_user, WHATSAPP_SCOPES, None, kind="SYSTEM_USER"
        )

    @property
    def account(self) -> AdAccount:
        """The ad account that two people share: with pixels, campaigns of every status, and the clinic's number."""
        return self.world.get(AdAccount, self.cast.thiago.account_ids[0])

    def ads(self, account_id: str | None = None, status: str = "ACTIVE") -> list[AdObject]:
        """The account's ads of this effective status."""
        found = self.world.below(account_id or self.account.id, AD)
        return [ad for ad in found if self.world.effective_status(ad) == status]

    def clients(self, base_url: str) -> dict[str, Any]:
        """What any client needs to be pointed here: `whatrack sandbox --json` prints it."""
        cast, account = self.cast, self.account
        return {
            "base_url": base_url,
            "dialog_url": base_url,
            "admin_url": f"{base_url}/_sandbox",
            "api_version": NEWEST,
            "app_id": cast.ads_app.id,
            "app_secret": cast.ads_app.secret,
            "access_token": self.token.value,
            "person": {"id": cast.thiago.id, "name": cast.thiago.name},
            "ad_account_id": f"act_{account.id}",
            "pixels": [
                {"id": each.id, "name": each.name, "waba_id": each.waba_id}
                for each in self.world.all(Dataset)
                if account.id in each.account_ids
            ],
            "ads": [{"id": ad.id, "name": ad.name} for ad in self.ads()],
            "insights": self._insights(account),
            "phone_number_id": cast.number.id,
            "waba_id": cast.waba.id,
            "dataset_id": cast.waba.dataset_id,
            "whatsapp_app_id": cast.whatsapp_app.id,
            "whatsapp_app_secret": cast.whatsapp_app.secret,
            "whatsapp_token": self.number_token.value,
        }

    def _insights(self, account: AdAccount) -> list[dict[str, Any]]:
        """The week until yesterday, by ad."""
        yesterday = self.clock.today(account.zone) - timedelta(days=1)
        week = f'{{"since":"{yesterday - timedelta(days=6)}","until":"{yesterday}"}}'
        fields = "ad_id,ad_name,spend,impressions,clicks,account_currency"
        return read(self.world, account, {"level": AD, "time_range": week, "fields": fields})

    def truth(self) -> dict[str, Any]:
        """The true answer: who came from which ad, what Meta learned, and what became of the people of played months."""
        learned = [
            {
                "dataset_id": each.dataset_id,
                "event": each.event,
                "ad_id": each.ad_id,
                "received_at": each.received_at,
                "fbtrace_id": each.trace,
                "test_event_code": each.test_event_code,
                "partner_agent": each.partner_agent,
            }
            for each in self.world.learned
        ]
        now = self.clock()
        return {
            "contacts": [each.as_json() for each in self.traffic.contacts],
            "events": learned,
            "cases": [each.as_json(now) for each in self.months.cases if each.opened_at <= now],
        }

    def sums(self, asked: Asked) -> list[Sum]:
        """What ads cost and what came of them, to the cent."""
        return sums(self.world, self.months.cases, asked)
