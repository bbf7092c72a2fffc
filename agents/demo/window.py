"""What the demo shows to readers: Redis on loopback, `rekindle views` and `rekindle api`, which end with it."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote
from urllib.request import urlopen

from agents.exits import Refusal
from agents.local_redis import WITHOUT, LocalRedis, find_server
from agents.process import free_port
from agents.settings import Settings
from agents.stack import Part
from agents.views.agreement import agree

_PORT: Final = 6379  # if it is free, commands find the views without being told where
_PATIENCE: Final = 20.0  # s after the last commit: the projector may have begun late
_FOREIGN: Final = {  # of other views and another API, in the environment
    f"REKINDLE_{name}" for name in ("PARENT", "REDIS_PASSWORD_FILE", "API_BIND", "API_TOKEN_FILE")
}


class Window:
    """Views and API of one demo. `settings`: where a reader finds the views."""

    def __init__(self, settings: Settings, redis_url: str, folder: Path) -> None:
        self.settings = settings.model_copy(update={"redis_url": redis_url, "redis_password_file": None})
        env = {name: value for name, value in os.environ.items() if name not in _FOREIGN} | {
            "REKINDLE_BROKERS": settings.brokers,
            "REKINDLE_TOPIC_PREFIX": settings.topic_prefix,
            "REKINDLE_SECURITY_PROTOCOL": settings.security_protocol,
            "REKINDLE_REDIS_URL": redis_url,
            "REKINDLE_API_PORT": str(free_port(settings.api_port)),
            "REKINDLE_METRICS_PORT": "0",
            "REKINDLE_LOG_FORMAT": "json",
            "REKINDLE_LOG_LEVEL": "info",
        }
        self.parts = [Part(name, (name,), folder / f"{name}.log", env) for name in ("views", "api")]

    def start(self) -> None:
        """Start the projector and the API; nobody waits for them while the history plays."""
        for part in self.parts:
            part.start()

    @property
    def api(self) -> str | None:
        """Address of the API, once it answers."""
        said = self.parts[1].said("api_served") if self.parts[1].process else []
        return str(said[-1]["address"]) if said else None

    async def errors(self, user: str | None) -> list[str]:
        """With all folded: how the views differ from Kafka, and whether the API knows this user. Empty: all is well."""
        found = [f"{part.name} ended: {part.last_words()}" for part in self.parts if part.code is not None]
        if found:
            return found
        found = await agree(self.settings, _PATIENCE)
        if user is not None and not await asyncio.to_thread(self._knows, user):
            found.append(f"the API does not answer for {user}")
        return found

    def _knows(self, user: str) -> bool:
        try:
            with urlopen(f"{self.api}/users/{quote(user, safe='')}", timeout=10) as answer:  # noqa: S310 our own
                return bool(json.load(answer)["user"] == user)
        except (OSError, ValueError):
            return False

    async def stop(self) -> None:
        """SIGTERM to both."""
        await asyncio.gather(*(asyncio.to_thread(part.stop) for part in self.parts))


@asynccontextmanager
async def window(settings: Settings, folder: Path, say: Callable[[str], None]) -> AsyncIterator[Window | None]:
    """A window, not started yet, with a running Redis; None where there is no Redis, which is said."""
    if find_server() is None:
        say(WITHOUT)
        yield None
        return
    redis = LocalRedis(folder / "redis", port=_PORT)
    try:
        redis.start()
    except Refusal as refusal:
        say(f"{refusal.line}: views and API are off; triggers need neither")
        yield None
        return
    opened = Window(settings, redis.url, folder)
    try:
        yield opened
    finally:
        await opened.stop()
        redis.kill()  # its data go with this run
