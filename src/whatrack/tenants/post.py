"""The way to the mail server: standard SMTP with STARTTLS, TLS or nothing, one letter at a time, in a thread."""

import asyncio
import smtplib
import ssl
from contextlib import suppress
from email.message import EmailMessage
from email.policy import default
from email.utils import formatdate, make_msgid, parseaddr

from whatrack.crypto import Sealer
from whatrack.db import Database
from whatrack.observe import logger
from whatrack.settings import Settings
from whatrack.tenants import emails
from whatrack.tenants.emails import Letter, Owed

TIMEOUT_S = 20.0
# What is in a body goes through every server as it is: ASCII, in lines that RFC 2045 allows.
IN_BODIES = default.clone(cte_type="7bit", max_line_length=76)
# An address in a header stays whole: where a line is folded at 78 characters, it would be encoded, and no mail program would open it.
IN_HEADERS = default.clone(max_line_length=900)

log = logger(__name__)


async def send_next(db: Database, sealer: Sealer, settings: Settings) -> bool:
    """Send the mail that is due; whether there was one. What fails is tried again later, for two days or as long as it is of use."""
    async with db.installation() as conn:
        owed = await emails.claim(conn, sealer)
    if owed is None:
        return False
    try:
        if owed.is_over:
            log.warning("email_outdated", email=str(owed.id), attempts=owed.attempts)
        else:
            await asyncio.to_thread(deliver, settings, owed.letter)
    except (OSError, smtplib.SMTPException, ValueError) as error:  # ValueError: an address no header can hold
        if not _gives_up(owed, error):
            return True
    async with db.installation() as conn:
        await emails.drop(conn, owed.id)
    return True


def deliver(settings: Settings, letter: Letter) -> None:
    """Hand one letter to the server; OSError, SMTPException or ValueError when it does not take it."""
    message = written(letter, sender=settings.smtp_from, domain=settings.base_url.host or "localhost")
    _, sender = parseaddr(settings.smtp_from)
    server = _connected(settings)
    try:
        if settings.smtp_security == "starttls":
            server.starttls(context=ssl.create_default_context())
        if settings.smtp_user and settings.smtp_password:
            server.login(settings.smtp_user, settings.smtp_password.get_secret_value())
        server.send_message(message, from_addr=sender, to_addrs=[letter.to])
    finally:  # what was taken is taken, however the server says goodbye: smtplib's own `with` would raise for it
        with suppress(OSError, smtplib.SMTPException):
            server.quit()
        server.close()


def written(letter: Letter, *, sender: str, domain: str) -> EmailMessage:
    """The letter as mail servers carry it. domain: ours, so that no machine's name is told."""
    message = EmailMessage(IN_BODIES)
    message["From"] = sender
    message["To"] = letter.to
    message["Subject"] = " ".join(letter.subject.split())
    message["Date"] = formatdate()
    message["Message-ID"] = make_msgid(domain=domain)
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday answers, please
    if letter.stop:  # RFC 8058: one click in the mail program, which posts this
        message["List-Unsubscribe"] = f"<{letter.stop}>"
        message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    message.set_content(letter.text)
    if letter.html:
        message.add_alternative(letter.html, subtype="html")
    message.policy = IN_HEADERS  # bodies are encoded by now
    return message


def _connected(settings: Settings) -> smtplib.SMTP:
    host, port, name = settings.smtp_host or "", settings.smtp_port, settings.base_url.host or "localhost"
    if settings.smtp_security != "tls":
        return smtplib.SMTP(host, port, name, TIMEOUT_S)
    context = ssl.create_default_context()
    return smtplib.SMTP_SSL(host, port, name, timeout=TIMEOUT_S, context=context)


def _gives_up(owed: Owed, error: Exception) -> bool:
    """Say that a mail was not sent; whether it never will be: too late, or the server knows no such recipient."""
    refused = isinstance(error, smtplib.SMTPRecipientsRefused) and all(
        code >= 500 for code, _ in error.recipients.values()
    )
    if owed.is_late or refused:
        log.error("email_dropped", email=str(owed.id), attempts=owed.attempts, exc_info=error)
        return True
    log.warning("email_not_sent", email=str(owed.id), attempts=owed.attempts, exc_info=error)
    return False
