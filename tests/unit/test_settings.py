from pathlib import Path

import pytest
from click.testing import CliRunner

from agents.cli import main
from agents.exits import Exit, Refusal
from agents.kafka.connection import client_options
from agents.settings import load_settings, unknown_settings

ROOT = Path(__file__).resolve().parents[2]


def test_defaults_and_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REKINDLE_BROKERS", "a:1, b:2")
    monkeypatch.setenv("REKINDLE_TOPIC_PREFIX", "")
    settings = load_settings(commit_interval=None, session_timeout=9)
    assert settings.topic("users") == "users"
    assert (settings.commit_interval, settings.session_timeout) == (0.2, 9)
    assert client_options(settings) == {"bootstrap_servers": ["a:1", "b:2"], "security_protocol": "PLAINTEXT"}


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("BROKERS", "nowhere", "'nowhere' is not host:port"),
        ("TOPIC_PREFIX", "a b", "REKINDLE_TOPIC_PREFIX"),
        ("COMMIT_INTERVAL", "0", "REKINDLE_COMMIT_INTERVAL"),
        ("SESSION_TIMEOUT", "soon", "REKINDLE_SESSION_TIMEOUT"),
        ("SECURITY_PROTOCOL", "TLS", "REKINDLE_SECURITY_PROTOCOL"),
        ("SECURITY_PROTOCOL", "SASL_SSL", "needs REKINDLE_SASL_USERNAME and REKINDLE_SASL_PASSWORD_FILE"),
        ("SSL_CAFILE", "/nothing", "REKINDLE_SSL_CAFILE=/nothing: there is no such file"),
        ("SSL_CERTFILE", __file__, "REKINDLE_SSL_CERTFILE and REKINDLE_SSL_KEYFILE belong together"),
        ("FAILPOINT", "later", "no failpoint 'later'"),
        ("FAILPOINT", "after_commit:0", "from 1"),
        ("LOG_FORMAT", "xml", "REKINDLE_LOG_FORMAT"),
    ],
)
def test_each_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str) -> None:
    monkeypatch.setenv(f"REKINDLE_{name}", value)
    with pytest.raises(Refusal) as refusal:
        load_settings()
    assert refusal.value.code is Exit.USAGE
    assert words in refusal.value.line
    assert "\n" not in refusal.value.line


def test_a_variable_that_is_no_setting_is_named_with_the_nearest_that_is_one() -> None:
    environment = {
        "REKINDLE_BROKER": "a:1",
        "REKINDLE_BROKERS": "a:1",
        "REKINDLE_PARENT": "1",
        "REKINDLE_X": "",
        "A": "",
    }
    assert unknown_settings(environment) == [
        "REKINDLE_BROKER is no setting and does nothing; did you mean REKINDLE_BROKERS?",
        "REKINDLE_X is no setting and does nothing",
    ]
    told = CliRunner().invoke(
        main, ["policy", "check", str(ROOT / "examples" / "policy.yaml")], env={"REKINDLE_BROKER": "a:1"}
    )
    assert (told.exit_code, "did you mean REKINDLE_BROKERS?" in told.stderr) == (0, True)


def test_the_password_comes_from_its_file_and_is_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "word"
    secret.write_text("first-secret\n")
    monkeypatch.setenv("REKINDLE_SECURITY_PROTOCOL", "SASL_PLAINTEXT")
    monkeypatch.setenv("REKINDLE_SASL_USERNAME", "worker")
    monkeypatch.setenv("REKINDLE_SASL_PASSWORD_FILE", str(secret))
    settings = load_settings()
    assert client_options(settings)["sasl_plain_password"] == "first-secret"
    secret.write_text("two")
    assert client_options(settings)["sasl_plain_password"] == "two"
    assert "first-secret" not in repr(settings)
