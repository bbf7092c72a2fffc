"""How to reach Redis."""

from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from agents.settings import Settings


def redis_client(settings: Settings) -> Redis:
    """A client that says at once that something failed, and hands over bytes. The password is read from its file."""
    file = settings.redis_password_file
    credentials: dict[str, Any] = {} if file is None else {"password": file.read_text().strip()}
    return Redis.from_url(
        settings.redis_url,
        **credentials,
        socket_timeout=5.0,
        socket_connect_timeout=2.0,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
    )
