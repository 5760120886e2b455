"""Where Meta says that nothing was spent and people came all the same: in words, and where its days are."""

from whatrack.roi.report import Report
from whatrack.web.pages.i18n import _, ngettext
from whatrack.web.pages.roi_filters import Filters


def words(found: Report) -> str:
    """Of which account, of how many days and people, and of how many other accounts; '' without any."""
    silent = [each for each in found.freshness if each.silent_days]
    if not silent:
        return ""
    first = max(silent, key=lambda each: each.silent_people)
    people = ngettext("%(num)s pessoa veio", "%(num)s pessoas vieram", first.silent_people)
    days = ngettext("em %(num)s dia", "em %(num)s dias", first.silent_days)
    text = _("A Meta diz que %(account)s não gastou nada %(days)s em que %(people)s dos anúncios dela.", account=first.name, days=days, people=people)  # fmt: skip
    if len(silent) == 1:
        return text
    more = ngettext("O mesmo em mais %(num)s conta.", "O mesmo em mais %(num)s contas.", len(silent) - 1)
    return f"{text} {more}"


def days_of(found: Report, filters: Filters) -> str:
    """The days of the account that is silent; of all accounts where several are."""
    silent = [each.ad_account_id for each in found.freshness if each.silent_days]
    return filters.to(f"/roi/days/{silent[0]}" if len(silent) == 1 else "/roi/days")
