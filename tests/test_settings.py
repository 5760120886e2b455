"""Settings: a missing or malformed one is refused with one line that names it; secrets show nowhere."""

import traceback
from pathlib import Path

import pytest

from tests.conftest import planted_in
from tests.support import APP_SECRET, VERIFY_TOKEN
from whatrack.errors import ConfigError
from whatrack.settings import SECRETS, Settings, default_data_dir, load_settings

NAMES = ("WHATRACK_DATA_DIR", "WHATRACK_BASE_URL", "WHATRACK_POSTGRES_BIN_DIR", "WHATRACK_LOG_LEVEL", "WHATRACK_DELIVERY_DAYS",
         "WHATRACK_EXCEPTION_DAYS", "WHATRACK_EXCEPTION_BYTES", *SECRETS, *(f"{name}_FILE" for name in SECRETS))  # fmt: skip


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what a test sets."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


def refusal(monkeypatch: pytest.MonkeyPatch, **environment: str) -> str:
    """The one line with which these settings are refused."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as refused:
        load_settings()
    line = str(refused.value)
    assert "\n" not in line
    shown = "".join(traceback.format_exception(refused.value))
    assert planted_in(shown) == []  # as a crash would print it
    return line


def test_without_any_setting_everything_has_its_documented_default():
    settings = load_settings()

    assert settings.database_url is None
    assert settings.data_dir == default_data_dir()
    assert (str(settings.base_url), settings.log_level) == ("http://localhost:3000/", "info")
    assert (settings.delivery_days, settings.exception_days) == (30, 90)
    assert settings.whatsapp_app_secrets == ()


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch):
    for name in NAMES:
        monkeypatch.setenv(name, "")

    settings = load_settings()

    assert (settings.database_url, settings.whatsapp_verify_token, settings.delivery_days) == (None, None, 30)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", f"mysql://u:{APP_SECRET}@h/db"),
        ("DATABASE_URL", f"postgresql+asyncpg://u:{APP_SECRET}@h/db"),
        ("DATABASE_URL", f"postgresql://u:{APP_SECRET}@h/db?sslmod=require"),
        ("DATABASE_URL", f"postgresql://u:{APP_SECRET}@h/db%zz"),
        ("DATABASE_URL", f"host=h password={APP_SECRET}"),
        ("DATABASE_URL", "postgresql://"),
        ("WHATRACK_BASE_URL", "localhost:3000"),
        ("WHATRACK_BASE_URL", "ftp://x"),
        ("WHATRACK_LOG_LEVEL", "loud"),
        ("WHATRACK_LOG_LEVEL", "INFO\n"),
        ("WHATRACK_DELIVERY_DAYS", "7"),
        ("WHATRACK_DELIVERY_DAYS", "a month"),
        ("WHATRACK_EXCEPTION_DAYS", "99999"),
        ("WHATRACK_EXCEPTION_BYTES", "1"),
        ("WHATRACK_EXCEPTION_BYTES", "1e9x"),
        ("WHATSAPP_APP_SECRET", f"{APP_SECRET}, {APP_SECRET}"),
        ("WHATSAPP_APP_SECRET", f"{APP_SECRET},"),
        ("WHATSAPP_APP_SECRET", f",{APP_SECRET}"),
        ("WHATSAPP_APP_SECRET", f"{APP_SECRET}é"),
        ("WHATSAPP_APP_SECRET", " "),
        ("WHATSAPP_VERIFY_TOKEN", "  "),
    ],
)
def test_a_malformed_value_is_one_line_that_names_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
):
    line = refusal(monkeypatch, **{name: value})

    assert line.startswith(f"{name} is malformed: ")
    assert "Value error" not in line


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p%40w@db.example.com:6543/whatrack?sslmode=require",
        "postgres://localhost/whatrack",
        "postgresql://u@h1:5432,h2:5432/whatrack?target_session_attrs=read-write",
        "postgresql:///whatrack?host=/run/postgresql",
    ],
)
def test_any_url_that_libpq_reads_is_a_database_url(monkeypatch: pytest.MonkeyPatch, url: str):
    monkeypatch.setenv("DATABASE_URL", url)

    found = load_settings().database_url

    assert found
    assert found.get_secret_value() == url


@pytest.mark.parametrize("name", SECRETS)
def test_each_secret_may_come_from_a_file_with_a_newline_at_its_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
):
    value = "postgresql://u:p@h/db" if name == "DATABASE_URL" else APP_SECRET
    file = tmp_path / "secret"
    file.write_text(f"{value}\r\n", encoding="utf-8")
    monkeypatch.setenv(f"{name}_FILE", str(file))

    settings = load_settings()

    single = (
        settings.database_url,
        settings.whatsapp_verify_token,
        settings.smtp_password,
        settings.meta_app_secret,
    )
    secrets = (*single, *settings.whatsapp_app_secrets, *settings.secret_keys)
    assert [each.get_secret_value() for each in secrets if each] == [value]


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_given_twice_or_in_a_file_that_cannot_be_read_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
):
    value = f"postgresql://u:{APP_SECRET}@h/db"
    (tmp_path / "secret").write_text(value, encoding="utf-8")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe" + APP_SECRET.encode())
    (tmp_path / "blank").write_text(" \n", encoding="utf-8")

    lines = [
        refusal(monkeypatch, **{f"{name}_FILE": str(tmp_path / file)})
        for file in ("missing", "bytes", "", "blank")
    ]
    lines.append(refusal(monkeypatch, **{name: value, f"{name}_FILE": str(tmp_path / "secret")}))

    assert all(line.startswith(name) for line in lines)
    assert all(str(tmp_path) in line for line in lines[:3])
    assert "both set" in lines[4]


def test_several_app_secrets_are_kept_in_order_and_any_may_sign(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WHATSAPP_APP_SECRET", "first,second,third")
    monkeypatch.setenv("WHATSAPP_VERIFY_TOKEN", VERIFY_TOKEN)

    assert load_settings().webhook_secrets() == ((b"first", b"second", b"third"), VERIFY_TOKEN)


@pytest.mark.parametrize("missing", ["WHATSAPP_APP_SECRET", "WHATSAPP_VERIFY_TOKEN"])
def test_what_the_webhook_needs_is_named_when_it_is_unset(monkeypatch: pytest.MonkeyPatch, missing: str):
    for name, value in (("WHATSAPP_APP_SECRET", APP_SECRET), ("WHATSAPP_VERIFY_TOKEN", VERIFY_TOKEN)):
        if name != missing:
            monkeypatch.setenv(name, value)

    with pytest.raises(ConfigError, match=f"^{missing} is not set: ") as refused:
        load_settings().webhook_secrets()

    assert planted_in(str(refused.value)) == []


def test_secrets_show_in_no_text_of_the_settings(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WHATSAPP_APP_SECRET", f"{APP_SECRET},{APP_SECRET}")
    monkeypatch.setenv("WHATSAPP_VERIFY_TOKEN", VERIFY_TOKEN)
    monkeypatch.setenv("DATABASE_URL", f"postgresql://u:{APP_SECRET}@h/db")
    settings = load_settings()

    texts = [
        repr(settings),
        str(settings),
        f"{settings}",
        settings.model_dump_json(),
        repr(settings.model_dump()),
    ]
    try:
        Settings(
            WHATSAPP_APP_SECRET=f"{APP_SECRET} {APP_SECRET}",
            WHATSAPP_VERIFY_TOKEN=VERIFY_TOKEN,
            WHATRACK_LOG_LEVEL=APP_SECRET,
        )
    except ValueError as error:
        texts.append("".join(traceback.format_exception(error)))

    assert len(texts) == 6
    assert [text for text in texts if planted_in(text)] == []


def test_what_a_caller_fixes_counts_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("WHATRACK_DATA_DIR", "/nowhere")
    monkeypatch.setenv("WHATRACK_DELIVERY_DAYS", "40")

    settings = load_settings(WHATRACK_DATA_DIR=tmp_path, DATABASE_URL=None)

    assert (settings.data_dir, settings.delivery_days, settings.database_url) == (tmp_path, 40, None)
