"""What stands before the routes: the access log, which names no user, and the bearer token."""

import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from ipaddress import ip_address
from pathlib import Path
from time import monotonic
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, disable_created_metrics
from starlette.responses import JSONResponse

from agents.exits import Exit, Refusal
from agents.log import logger
from agents.settings import Settings

log = logger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN: Final = frozenset({"/healthz", "/readyz"})
"""Paths that need no token: what asks there is a supervisor, and learns nothing about anybody."""
LOCAL_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
_LEAST: Final = 16  # characters of a token
_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


def is_loopback(bind: str) -> bool:
    """Whether only this machine can connect to an address."""
    try:
        return bind == "localhost" or ip_address(bind).is_loopback
    except ValueError:
        return False


def token_of(settings: Settings) -> bytes | None:
    """The token that requests have to bring; None: none is needed, since only this machine can ask.

    Raises:
        Refusal: there has to be one, and there is none, or it is too short.
    """
    path: Path | None = settings.api_token_file
    if path is None:
        if settings.api_erase:
            line = "api: who erases users has to bring a token: name a file that holds one in REKINDLE_API_TOKEN_FILE"
            raise Refusal(Exit.TOKEN, line)
        if is_loopback(settings.api_bind):
            return None
        line = (
            f"api: {settings.api_bind} can be reached from other machines, and there is no token: name a file that "
            "holds one in REKINDLE_API_TOKEN_FILE, or bind to 127.0.0.1"
        )
        raise Refusal(Exit.TOKEN, line)
    try:
        token = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Refusal(Exit.TOKEN, f"api: the token in {path} can't be read ({type(error).__name__})") from None
    if len(token) < _LEAST:
        line = f"api: the token in {path} has {len(token)} characters; {_LEAST} at least (openssl rand -hex 32)"
        raise Refusal(Exit.TOKEN, line)
    return token.encode()


class ApiMetrics:
    """What is counted of the API."""

    def __init__(self, registry: CollectorRegistry) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "rekindle_api_requests", "Requests by route and status.", ("route", "status"), registry=registry
        )
        self.seconds = Histogram(
            "rekindle_api_request_seconds", "Time of a request.", ("route",), buckets=_BUCKETS, registry=registry
        )


class AccessLog:
    """One line and one count for each request: the route, never the path, which names a user. What a bug raises is
    logged by its kind and place: its text may quote a row.
    """

    def __init__(self, app: App, metrics: ApiMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = monotonic(), 0

        async def noting(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except Exception as error:  # noqa: BLE001 a bug must not end the server, nor write who was asked for
            place = error.__traceback__
            while place is not None and place.tb_next is not None:
                place = place.tb_next
            where = "" if place is None else f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}"
            log.error("api_failed", error=type(error).__name__, where=where)  # noqa: TRY400 no text, no traceback
            if not status:
                await JSONResponse({"detail": "a bug; see the log"}, 500)(scope, receive, noting)
        finally:
            took = monotonic() - began
            route = getattr(scope.get("route"), "path", "none")
            self._metrics.requests.labels(route, status).inc()
            self._metrics.seconds.labels(route).observe(took)
            log.info("request", method=str(scope["method"])[:8], route=route, status=status, ms=round(took * 1000, 1))


class Guard:
    """Lets pass who brings the token; without one, who asks for this machine by a name of its own: a page that a
    browser shows can have its own name resolve to 127.0.0.1.
    """

    def __init__(self, app: App, token: bytes | None) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        refused = self._refusal(scope) if scope["type"] == "http" and scope["path"] not in OPEN else None
        if refused is not None:
            await refused(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        headers = dict(scope["headers"])
        if self._token is None:
            host = headers.get(b"host", b"").decode("latin-1")
            name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
            if name.lower() in LOCAL_HOSTS:
                return None
            return JSONResponse({"detail": "this API is for 127.0.0.1 and localhost"}, 421)
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() == b"bearer" and hmac.compare_digest(given.strip(), self._token):
            return None
        return JSONResponse({"detail": "a bearer token is needed"}, 401, {"WWW-Authenticate": "Bearer"})
