"""Settings from the environment."""

import pytest
from pydantic import ValidationError

from backend.main import app
from backend.settings import Settings


@pytest.fixture(autouse=True)
def token_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sign tokens with a secret that is long enough."""
    monkeypatch.setenv("BACKEND_TOKEN_SECRET", "s3cret" * 6)


def test_the_driver_is_asyncpg_whatever_the_url_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """A URL as other tools write it works, and so does its password."""
    monkeypatch.setenv("BACKEND_DATABASE_URL", "postgresql://ada:s3cret@db:5433/books")

    url = Settings().database_url.get_secret_value()

    assert url == "postgresql+asyncpg://ada:s3cret@db:5433/books"


@pytest.mark.parametrize("url", ["mysql://ada:s3cret@db/books", "ada:s3cret@db"])
def test_a_refused_url_is_not_repeated_in_the_error(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Start-up errors end up in logs, so they must not carry the password."""
    monkeypatch.setenv("BACKEND_DATABASE_URL", url)

    with pytest.raises(ValidationError, match="database_url") as error:
        Settings()

    assert "s3cret" not in str(error.value)


def test_a_secret_that_can_be_guessed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """HMAC with SHA-256 wants a key of 32 bytes; a shorter one is refused at start-up."""
    monkeypatch.setenv("BACKEND_DATABASE_URL", "postgresql://ada@db/books")
    monkeypatch.setenv("BACKEND_TOKEN_SECRET", "s3cret")

    with pytest.raises(ValidationError, match="token_secret"):
        Settings()


def test_a_server_without_its_settings_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is missing is named at start-up, and no value is shown."""
    monkeypatch.setenv("BACKEND_DATABASE_URL", "postgresql://ada:s3cret@db/books")
    monkeypatch.delenv("BACKEND_TOKEN_SECRET")

    with pytest.raises(ValidationError, match="token_secret") as error:
        app()

    assert "s3cret" not in str(error.value)


def test_no_secret_is_in_the_settings_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Printing the settings shows neither the password nor the key of the tokens."""
    monkeypatch.setenv("BACKEND_DATABASE_URL", "postgresql://ada:s3cret@db/books")

    assert "s3cret" not in repr(Settings())
