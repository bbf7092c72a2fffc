"""Settings of every process, from the environment (REKINDLE_*); secrets come from files that are named there."""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from agents.exits import Exit, Refusal
from agents.failpoints import Failpoints
from pipeline.wording import Language

DEFAULT_BROKERS: Final = "127.0.0.1:9092"
_NO_SETTINGS: Final = frozenset({"REKINDLE_PARENT", "REKINDLE_DATA", "REKINDLE_HYPOTHESIS", "REKINDLE_USERS"})
"""Other variables: whose end a process follows (agents/process.py), and what tests go by."""


class Settings(BaseSettings):
    """One field for each variable: BROKERS is REKINDLE_BROKERS. Times are in seconds."""

    model_config = SettingsConfigDict(env_prefix="REKINDLE_", frozen=True, extra="ignore")

    brokers: str = Field(DEFAULT_BROKERS, description="host:port of some brokers, separated by commas")
    topic_prefix: str = Field("rekindle.", pattern=r"^[a-zA-Z0-9._-]*$", description="before the name of every topic")
    app_id: str = Field(
        "rekindle", pattern=r"^[a-zA-Z0-9._-]+$", description="consumer group; starts every transactional id"
    )
    tenant: str = Field("default", min_length=1, description="part of every trigger's id")

    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    sasl_username: str | None = None
    sasl_password_file: Path | None = Field(None, description="file that holds the password and nothing else")
    ssl_cafile: Path | None = None
    ssl_certfile: Path | None = None
    ssl_keyfile: Path | None = None

    metrics_bind: str = "127.0.0.1"
    metrics_port: int = Field(9464, ge=0, le=65535, description="0: any free port")

    commit_interval: float = Field(0.2, gt=0, le=5, description="least time between two transactions of a partition")
    session_timeout: float = Field(
        6.0, ge=1, le=300, description="without a heartbeat for so long a worker loses its partitions"
    )
    transaction_timeout: float = Field(10.0, ge=1, le=900, description="the broker aborts one that is open longer")
    tick_after: float = Field(10.0, gt=0, description="lag of a live clock, beyond its lateness, for a tick")
    accept_gap: bool = Field(default=False, description="go on where records were deleted before they were read")

    redis_url: str = Field(
        "redis://127.0.0.1:6379/0",
        pattern=r"^(rediss?|unix)://",
        description="where the views lie; without a password, which comes from a file",
    )
    redis_password_file: Path | None = Field(None, description="file that holds the password and nothing else")
    views_decisions: int = Field(20_000, ge=100, le=1_000_000, description="how many decisions the views keep")
    api_bind: str = Field("127.0.0.1", description="another address than loopback needs api_token_file")
    api_port: int = Field(8765, ge=0, le=65535, description="0: any free port")
    api_token_file: Path | None = Field(None, description="file that holds the bearer token and nothing else")
    api_erase: bool = Field(default=False, description="let who brings the token erase users; needs api_token_file")

    erasure_key_file: Path | None = Field(
        None, description="file that holds the key of erasures and nothing else; $REKINDLE_HOME/erasure.key by default"
    )

    lang: Language = Field("en", description="of the words in which commands say why: en or zh")

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"
    failpoint: str | None = Field(None, description="tests only: name[:nth], where the process kills itself")
    home: Path = Field(Path(".rekindle"), description="what the local stack keeps")

    @field_validator("failpoint")
    @classmethod
    def _known_failpoint(cls, spec: str | None) -> str | None:
        Failpoints(spec)
        return spec

    @field_validator("brokers")
    @classmethod
    def _host_and_port(cls, brokers: str) -> str:
        for broker in brokers.split(","):
            host, _, port = broker.strip().rpartition(":")
            if not host or not port.isdecimal():
                msg = f"{broker.strip()!r} is not host:port"
                raise ValueError(msg)
        return brokers

    @model_validator(mode="after")
    def _whole(self) -> "Settings":
        if self.security_protocol.startswith("SASL") and not (self.sasl_username and self.sasl_password_file):
            msg = (
                f"REKINDLE_SECURITY_PROTOCOL={self.security_protocol} needs REKINDLE_SASL_USERNAME and "
                "REKINDLE_SASL_PASSWORD_FILE"
            )
            raise ValueError(msg)
        if bool(self.ssl_certfile) != bool(self.ssl_keyfile):
            msg = "REKINDLE_SSL_CERTFILE and REKINDLE_SSL_KEYFILE belong together"
            raise ValueError(msg)
        for name in (
            "sasl_password_file",
            "ssl_cafile",
            "ssl_certfile",
            "ssl_keyfile",
            "redis_password_file",
            "api_token_file",
        ):
            path: Path | None = getattr(self, name)
            if path is not None and not path.is_file():
                msg = f"REKINDLE_{name.upper()}={path}: there is no such file"
                raise ValueError(msg)
        return self

    def topic(self, name: str) -> str:
        """Full name of a topic: `users` -> `rekindle.users`."""
        return self.topic_prefix + name


def load_settings(**overrides: object) -> Settings:
    """Settings from the environment; `overrides` (field names) win, None among them does not.

    Raises:
        Refusal: a setting is wrong; the line names the variable.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        problems = []
        for problem in error.errors(include_url=False):
            name = "_".join(str(part) for part in problem["loc"])
            message = problem["msg"].removeprefix("Value error, ")
            problems.append(f"REKINDLE_{name.upper()}: {message}" if name else message)
        raise Refusal(Exit.USAGE, "settings: " + "; ".join(problems)) from None


def unknown_settings(environment: Mapping[str, str]) -> list[str]:
    """A line for each variable REKINDLE_* that is none, with the nearest that is one."""
    known = {f"REKINDLE_{name.upper()}" for name in Settings.model_fields} | _NO_SETTINGS
    lines = []
    for name in sorted(environment):
        if name.startswith("REKINDLE_") and name not in known:
            near = get_close_matches(name, known - _NO_SETTINGS, n=1, cutoff=0.8)
            lines.append(f"{name} is no setting and does nothing" + (f"; did you mean {near[0]}?" if near else ""))
    return lines
