"""Every setting, read once from the environment; a missing or malformed one is refused with one line that names it.

Each secret may also be given as NAME_FILE, the path of a file that holds it (Docker and systemd credentials).
"""

import os
import re
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict
from pydantic import Field, HttpUrl, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict
from typing_extensions import override

from whatrack.errors import ConfigError

SECRETS = (
    "DATABASE_URL",
    "WHATRACK_SECRET_KEY",
    "WHATSAPP_APP_SECRET",
    "WHATSAPP_VERIFY_TOKEN",
    "META_APP_SECRET",
    "SMTP_PASSWORD",
)

# What reading accounts, choosing datasets and sending conversions takes (PRD §8).
DEFAULT_SCOPES = "ads_read,ads_management,business_management"

Network = IPv4Network | IPv6Network


def default_data_dir() -> Path:
    """Where an embedded database lives: /var/lib/whatrack for root, else the user's XDG data folder."""
    if os.geteuid() == 0:
        return Path("/var/lib/whatrack/data")
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "whatrack" / "data"


class Settings(BaseSettings):
    """The installation's settings. Secrets print as asterisks."""

    model_config = SettingsConfigDict(
        env_ignore_empty=True, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    database_url: SecretStr | None = Field(None, validation_alias="DATABASE_URL")
    data_dir: Path = Field(default_factory=default_data_dir, validation_alias="WHATRACK_DATA_DIR")
    base_url: HttpUrl = Field(HttpUrl("http://localhost:3000"), validation_alias="WHATRACK_BASE_URL")
    postgres_bin_dir: Path | None = Field(None, validation_alias="WHATRACK_POSTGRES_BIN_DIR")
    log_level: str = Field(
        "info", validation_alias="WHATRACK_LOG_LEVEL", pattern="^(debug|info|warning|error)$"
    )
    delivery_days: int = Field(30, validation_alias="WHATRACK_DELIVERY_DAYS", ge=8, le=3650)
    exception_days: int = Field(90, validation_alias="WHATRACK_EXCEPTION_DAYS", ge=8, le=3650)
    exception_bytes: int = Field(2**30, validation_alias="WHATRACK_EXCEPTION_BYTES", ge=2**20)
    secret_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (), validation_alias="WHATRACK_SECRET_KEY"
    )
    smtp_host: str | None = Field(None, validation_alias="SMTP_HOST")
    smtp_port: int = Field(587, validation_alias="SMTP_PORT", ge=1, le=65535)
    smtp_user: str | None = Field(None, validation_alias="SMTP_USER")
    smtp_password: SecretStr | None = Field(None, validation_alias="SMTP_PASSWORD")
    smtp_security: str = Field("starttls", validation_alias="SMTP_SECURITY", pattern="^(starttls|tls|none)$")
    smtp_from: str = Field("WhaTrack <whatrack@localhost>", validation_alias="SMTP_FROM")
    # How long what a move on the site owes Meta waits, so that it can be undone; see conversions/outbox.py.
    undo_seconds: int = Field(8, validation_alias="WHATRACK_UNDO_SECONDS", ge=0, le=30)
    # How many days of spend are fetched when an ad account is turned on.
    insights_days: int = Field(90, validation_alias="WHATRACK_INSIGHTS_DAYS", ge=1, le=1100)
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode] = Field(
        (), validation_alias="WHATRACK_TRUSTED_PROXIES"
    )
    password_memory_kib: int = Field(
        65_536, validation_alias="WHATRACK_PASSWORD_MEMORY_KIB", ge=1024, le=2**21
    )
    # Beside Meta's own; for sandboxes and tests, so they may be private.
    media_hosts: Annotated[tuple[str, ...], NoDecode] = Field((), validation_alias="WHATRACK_MEDIA_HOSTS")
    whatsapp_app_secrets: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (), validation_alias="WHATSAPP_APP_SECRET"
    )
    whatsapp_verify_token: SecretStr | None = Field(None, validation_alias="WHATSAPP_VERIFY_TOKEN")

    meta_app_id: str | None = Field(None, validation_alias="META_APP_ID", pattern="^[0-9]{1,32}$")
    meta_app_secret: SecretStr | None = Field(None, validation_alias="META_APP_SECRET")
    meta_login_config_id: str | None = Field(None, validation_alias="META_LOGIN_CONFIG_ID")
    meta_login_scopes: str = Field(
        DEFAULT_SCOPES, validation_alias="META_LOGIN_SCOPES", pattern="^[a-z_]+(,[a-z_]+)*$"
    )
    meta_graph_url: HttpUrl = Field(HttpUrl("https://graph.facebook.com"), validation_alias="META_GRAPH_URL")
    meta_dialog_url: HttpUrl = Field(HttpUrl("https://www.facebook.com"), validation_alias="META_DIALOG_URL")
    meta_api_version: str = Field(
        "v26.0", validation_alias="META_API_VERSION", pattern=r"^v[0-9]{1,3}\.[0-9]$"
    )

    @classmethod
    @override
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read the environment, then the NAME_FILE variants; nothing else (no dotenv, no secrets folder)."""
        return (init_settings, env_settings, _SecretFiles(settings_cls))

    @field_validator("media_hosts", mode="before")
    @classmethod
    def _several_hosts(cls, value: object) -> object:
        """Host names, each perhaps with a port: localhost:4000."""
        if not isinstance(value, str):
            return value
        hosts = tuple(part.strip().lower() for part in value.split(","))
        if any(not re.fullmatch(r"[a-z0-9.-]+(:[0-9]{1,5})?", host) for host in hosts):
            raise ValueError("expected host names such as localhost:4000, comma-separated")
        return hosts

    @field_validator("whatsapp_app_secrets", "secret_keys", mode="before")
    @classmethod
    def _several_secrets(cls, value: object) -> object:
        return value.split(",") if isinstance(value, str) else value

    @field_validator("whatsapp_app_secrets", "secret_keys")
    @classmethod
    def _plain_secrets(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for secret in value:
            text = secret.get_secret_value()
            if not text or not text.isascii() or any(char.isspace() for char in text):
                raise ValueError("one of the comma-separated secrets is empty or holds a space")
        return value

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _several_networks(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            return tuple(ip_network(part.strip(), strict=False) for part in value.split(","))
        except ValueError:
            raise ValueError("expected addresses or networks such as 10.0.0.0/8, comma-separated") from None

    @field_validator("database_url")
    @classmethod
    def _is_postgres(cls, value: SecretStr | None) -> SecretStr | None:
        """What libpq can read, written as a URL. A socket folder stands in the query: postgresql:///db?host=/run/postgresql."""
        if value is None:
            return None
        url = value.get_secret_value()
        try:
            readable = url.startswith(("postgresql://", "postgres://")) and bool(conninfo_to_dict(url))
        except ProgrammingError:  # its text would repeat the password
            readable = False
        if not readable:
            raise ValueError("expected postgresql://user:password@host:port/database")
        return value

    @field_validator("whatsapp_verify_token", "smtp_password", "meta_app_secret")
    @classmethod
    def _not_blank(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().strip():
            raise ValueError("it is empty")
        return value

    @property
    def address(self) -> str:
        """Where people reach the site, without a slash at the end: links start with it."""
        return str(self.base_url).rstrip("/")

    @property
    def is_https(self) -> bool:
        """Whether cookies may be kept to encrypted connections."""
        return self.base_url.scheme == "https"

    def webhook_secrets(self) -> tuple[tuple[bytes, ...], str]:
        """The app secrets (any may sign) and the verify token; raises ConfigError when either is unset."""
        if not self.whatsapp_app_secrets:
            raise ConfigError(
                "WHATSAPP_APP_SECRET is not set: copy it from the WhatsApp app's Settings › Basic in Meta's panel, "
                "so that webhooks can be told from forgeries."
            )
        if self.whatsapp_verify_token is None:
            raise ConfigError(
                "WHATSAPP_VERIFY_TOKEN is not set: choose any hard-to-guess text and give Meta's panel the same."
            )
        secrets = tuple(secret.get_secret_value().encode() for secret in self.whatsapp_app_secrets)
        return secrets, self.whatsapp_verify_token.get_secret_value()

    def missing_for_login(self) -> list[str]:
        """Which settings a Facebook login still needs, by their environment's names."""
        wanted = {"META_APP_ID": self.meta_app_id, "META_APP_SECRET": self.meta_app_secret}
        return [name for name, value in wanted.items() if value is None]


class _SecretFiles(PydanticBaseSettingsSource):
    """NAME_FILE for each secret that is not set itself."""

    @override
    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        """Unused: this source answers as a whole, below."""
        return None, field_name, False

    @override
    def __call__(self) -> dict[str, Any]:
        return {name: value for name in SECRETS if (value := _secret_file(os.environ, name)) is not None}


def _secret_file(environ: Mapping[str, str], name: str) -> str | None:
    path = environ.get(f"{name}_FILE")
    if not path:
        return None
    if environ.get(name):
        raise ConfigError(f"{name} and {name}_FILE are both set: keep one of them.")
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{name}_FILE names {path}, which cannot be read ({type(error).__name__})."
        ) from None


def load_settings(**fixed: object) -> Settings:
    """The settings of this process's environment; ConfigError with one line when one is malformed.

    fixed: settings by their environment's names that count whatever the environment says.
    """
    try:
        return Settings.model_validate(fixed)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        said = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{first['loc'][0]} is malformed: {said}.") from None
