"""What the commands that read the views share."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import click
from redis.exceptions import RedisError

from agents.cli.base import run
from agents.exits import Exit, Refusal
from agents.looks import moment_of
from agents.settings import Settings
from agents.sight import sight_from_kafka
from agents.views.connection import redis_client
from agents.views.keys import root_of
from agents.views.read import NoViews, Sight, Views

T = TypeVar("T")

from_kafka = click.option(
    "--kafka", "from_kafka", is_flag=True, help="Read the state topic instead of the views: slower, no past decisions."
)


class Moment(click.ParamType):
    """RFC 3339, as ms."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The moment."""
        try:
            return value if isinstance(value, int) else moment_of(str(value))
        except (ValueError, OverflowError):
            self.fail(f"{str(value)[:40]!r} is no time such as 2026-01-31T12:00:00Z", param, ctx)


as_of = click.option("--as-of", type=Moment(), help="Of the risk and of the gates as they are; now by default.")


def read(settings: Settings, ask: Callable[[Views], Awaitable[T]]) -> T:
    """Ask the views.

    Raises:
        Refusal: there are none, or Redis does not answer.
    """

    async def work() -> T:
        redis = redis_client(settings)
        try:
            return await ask(Views(redis, root_of(settings.topic_prefix), settings.tenant))
        except NoViews:
            line = f"there are no views under {settings.topic_prefix!r} yet: is `rekindle views` running?"
            raise Refusal(Exit.USAGE, line) from None
        except (RedisError, OSError) as error:
            line = f"no Redis answers at REKINDLE_REDIS_URL ({type(error).__name__}); start one and `rekindle views`"
            raise Refusal(Exit.USAGE, line) from None
        finally:
            await redis.aclose()

    return run(settings, work())


def sight_of(settings: Settings, user: str, *, kafka: bool) -> Sight:
    """A user. Raises Refusal if there is none."""
    try:
        found = run(settings, sight_from_kafka(settings, user)) if kafka else read(settings, lambda v: v.user(user))
    except Refusal as refusal:
        if not kafka and refusal.code == Exit.USAGE:
            raise Refusal(refusal.code, f"{refusal.line}; --kafka asks the state topic instead") from None
        raise
    if found is None:
        raise Refusal(Exit.USAGE, f"no user or visitor {user!r} is known under the prefix {settings.topic_prefix!r}")
    return found


def minute(text: str | None) -> str:
    """RFC 3339 as `2026-01-31 12:00`."""
    return "-" if text is None else text[:16].replace("T", " ")
