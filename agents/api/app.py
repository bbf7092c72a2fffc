"""The routes."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from importlib.metadata import PackageNotFoundError, version
from time import time
from typing import Annotated, Any, Final

import msgspec
from fastapi import FastAPI, HTTPException, Path, Query, Request
from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry
from redis.exceptions import RedisError

from agents.api import models
from agents.api.erasing import add_erasing
from agents.api.guards import AccessLog, ApiMetrics, Guard
from agents.looks import as_of_of, day_of, report_look, trigger_look, user_look
from agents.readable import day_text
from agents.settings import Settings
from agents.views.connection import redis_client
from agents.views.keys import root_of
from agents.views.read import NoViews, Page, Views
from pipeline.reports import REGISTRY, Span
from pipeline.sums import CHANNELS, GROWTH, Sum
from schemas.codec import rfc3339

_BEHIND: Final = 60.0  # s for which the views may show less than there is before /readyz says so
_MANY: Final = 200

Limit = Annotated[int, Query(ge=1, le=1000, description="items of a page")]
Since = Annotated[date | None, Query(description="first day")]
Until = Annotated[date | None, Query(description="last day")]
Place = Annotated[str | None, Query(pattern=r"^[0-9]{13}-[0-9]{3}-[0-9]{15}$", description="`next` of a page")]
Cell = Annotated[str | None, Query(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}~[^~]{0,200}$", description="`next` of a page")]

_PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    401: {"model": models.Problem, "description": "a bearer token is needed"},
    421: {"model": models.Problem, "description": "asked for by a name that is none of this machine"},
    503: {"model": models.Problem, "description": "Redis does not answer, or the views are being built"},
}
_MISSING: Final[dict[int | str, dict[str, Any]]] = {404: {"model": models.Problem, "description": "not there"}}


def make_app(
    settings: Settings, token: bytes | None, registry: CollectorRegistry, *, now: Callable[[], float] = time
) -> FastAPI:
    """The application; it connects when it is first asked."""
    redis = redis_client(settings)
    views = Views(redis, root_of(settings.topic_prefix), settings.tenant)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await redis.aclose()

    app = FastAPI(
        title="Rekindle",
        description="Users, what brought them, and why they are recalled or not. Reads views; decides nothing.",
        version=_release(),
        lifespan=lifespan,
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
        responses=_PROBLEMS,
    )
    app.add_middleware(Guard, token=token)
    app.add_middleware(AccessLog, metrics=ApiMetrics(registry))

    async def unavailable(_: Request, error: Exception) -> JSONResponse:
        building = isinstance(error, NoViews)
        why = "there are no views yet: is `rekindle views` running?" if building else "Redis does not answer"
        return JSONResponse({"detail": why}, 503, {"Retry-After": "2"})

    for kind in (NoViews, RedisError, OSError):
        app.add_exception_handler(kind, unavailable)

    @app.get("/healthz", tags=["operation"])
    async def healthz() -> models.Health:
        """Whether this process works."""
        return models.Health(status="ok", why=None, fresh=None)

    @app.get("/readyz", tags=["operation"], responses={503: {"model": models.Health}})
    async def readyz() -> Any:
        """Whether it can answer, and the views are not behind."""
        try:
            status = await views.status()
        except NoViews:
            return _unready("there are no views yet: is `rekindle views` running?")
        except (RedisError, OSError):
            return _unready("Redis does not answer")
        fresh = rfc3339(status.fresh)
        if now() - status.fresh / 1000 > _BEHIND:
            return _unready("the views are behind: is `rekindle views` running?", fresh)
        return models.Health(status="ok", why=None, fresh=fresh)

    @app.get("/users/{user:path}", tags=["users"], responses=_MISSING)
    async def user(
        user: Annotated[str, Path(min_length=1, max_length=512)],
        as_of: Annotated[datetime | None, Query(description="of the risk; now by default")] = None,
    ) -> models.User:
        """A user: state, risk as of a moment, next deadline, episode, and why they are recalled or not."""
        moment = None if as_of is None else _milliseconds(as_of)
        sight = await views.user(user)
        if sight is None:
            raise HTTPException(404, "no such user")
        return models.User.model_validate(user_look(sight, as_of_of(sight, moment)))

    @app.get("/channels", tags=["sums"])
    async def channels(
        since: Since = None, until: Until = None, limit: Limit = _MANY, cursor: Cell = None
    ) -> models.Page:
        """Day by day and channel: visitors, new users, orders, revenue in minor units."""
        return await _sum(views, CHANNELS, _span(since, until), limit, cursor)

    @app.get("/growth", tags=["sums"])
    async def growth(
        since: Since = None, until: Until = None, limit: Limit = _MANY, cursor: Cell = None
    ) -> models.Page:
        """Day by day and kind (user, visitor): new, retained, returned, dormant, expired."""
        return await _sum(views, GROWTH, _span(since, until), limit, cursor)

    @app.get("/decisions", tags=["recall"])
    async def decisions(limit: Limit = 50, cursor: Place = None) -> models.Page:
        """The last decisions, newest first, the no's too."""
        return _page(await views.decisions(limit, cursor))

    @app.get("/triggers", tags=["recall"])
    async def triggers(limit: Limit = 50, cursor: Place = None) -> models.Page:
        """The last decisions to send, newest first."""
        return _page(await views.decisions(limit, cursor, sent=True))

    @app.get("/triggers/{identity}", tags=["recall"], responses=_MISSING)
    async def trigger(identity: Annotated[str, Path(pattern="^[0-9a-f]{32}$")]) -> models.Trigger:
        """Why a trigger was sent, or was not: its gates in words."""
        document = await views.trigger(identity)
        if document is None:
            raise HTTPException(404, "not among the last decisions")
        return models.Trigger.model_validate(trigger_look(document))

    @app.get("/reports", tags=["sums"])
    async def reports() -> list[models.ReportName]:
        """The reports there are."""
        return [models.ReportName(name=report.name, says=report.says) for report in REGISTRY.values()]

    @app.get("/reports/{name}", tags=["sums"], responses=_MISSING)
    async def report(name: str, since: Since = None, until: Until = None) -> models.Report:
        """A report of the sums over a span of days."""
        if name not in REGISTRY:
            raise HTTPException(404, f"no such report; there are: {', '.join(REGISTRY)}")
        cells = await views.sums(aggregate.name for aggregate in REGISTRY[name].sums)
        look = report_look(name, cells, _span(since, until), await views.currency())
        return models.Report.model_validate(look)

    if settings.api_erase:
        add_erasing(app, settings, now)
    return app


async def _sum(views: Views, aggregate: Sum, span: Span, limit: int, cursor: str | None) -> models.Page:
    after: tuple[int, str] = (-1, "")
    if cursor is not None:
        text, _, name = cursor.partition("~")
        try:
            after = day_of(text), name
        except ValueError:
            raise HTTPException(422, "the cursor names no day") from None
    cells = await views.sums([aggregate.name])
    found = sorted(
        ((int(day), str(label)), values)
        for (name, (day, label)), values in cells.items()
        if name == aggregate.name and any(values) and span.holds(day)
    )
    page = [cell for cell in found if cell[0] > after]
    items = [
        dict(zip(aggregate.dims, (day_text(day), label), strict=True))
        | dict(zip(aggregate.fields, values, strict=True))
        for (day, label), values in page[:limit]
    ]
    last = page[limit - 1][0] if len(page) > limit else None
    return models.Page(items=items, next=None if last is None else f"{day_text(last[0])}~{last[1]}")


def _page(page: Page) -> models.Page:
    return models.Page(items=[msgspec.json.decode(document) for document in page.documents], next=page.cursor)


def _unready(why: str, fresh: str | None = None) -> JSONResponse:
    return JSONResponse(models.Health(status="not ready", why=why, fresh=fresh).model_dump(), 503)


def _span(since: date | None, until: date | None) -> Span:
    return Span(
        None if since is None else day_of(since.isoformat()), None if until is None else day_of(until.isoformat())
    )


def _milliseconds(moment: datetime) -> int:
    known = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if not 1990 <= known.year < 2200:
        raise HTTPException(422, "as_of has to lie between 1990 and 2199")
    return round(known.timestamp() * 1000)


def _release() -> str:
    try:
        return version("rekindle")
    except PackageNotFoundError:
        return "unknown"
