"""The one route that changes anything: erasing a user. It is there only where the settings ask for it (`api_erase`)."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Final

from aiokafka.errors import KafkaError
from fastapi import FastAPI, HTTPException, Path, Query, Response

from agents.api import models
from agents.erasure import forget
from agents.exits import Exit, Refusal
from agents.log import logger
from agents.looks import moment_of
from agents.settings import Settings

log = logger(__name__)

_AT_ONCE: Final = 2  # each reads a partition of the state, more than once
_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    202: {"model": models.Erased, "description": "sent, and not applied yet; ask again with the same `at`"},
    422: {"model": models.Problem, "description": "nobody can have this id, or `at` is in the future"},
    503: {"model": models.Problem, "description": "Kafka does not answer, or does not let the API ask"},
}


def add_erasing(app: FastAPI, settings: Settings, now: Callable[[], float]) -> None:
    """Add the route. `now`: seconds since 1970."""
    turns = asyncio.Semaphore(_AT_ONCE)

    @app.delete("/users/{user:path}", tags=["users"], responses=_RESPONSES)
    async def erase(
        response: Response,
        user: Annotated[str, Path(min_length=1, max_length=512)],
        at: Annotated[datetime | None, Query(description="when they asked; now by default")] = None,
        wait: Annotated[float, Query(ge=0, le=30, description="seconds for it to be applied")] = 10.0,
    ) -> models.Erased:
        """Erase a user, as `rekindle erase` does: the certificate. The same `at` again erases once."""
        try:
            moment = round(now() * 1000) if at is None else moment_of(at.isoformat())
        except ValueError as error:
            raise HTTPException(422, f"at: {error}") from None
        try:
            async with turns:
                found = await forget(settings, user, moment, wait)
        except Refusal as refusal:
            if refusal.code == Exit.USAGE:
                raise HTTPException(422, refusal.line) from None
            log.error("erase_refused", code=refusal.code.name, why=refusal.line)  # noqa: TRY400 no traceback: it may quote
            raise HTTPException(503, "Kafka does not answer, or does not let the API ask; see its log") from None
        except KafkaError as error:
            log.error("erase_failed", error=type(error).__name__)  # noqa: TRY400
            raise HTTPException(503, "Kafka does not answer, or does not let the API ask; see its log") from None
        if found is None:
            response.status_code = 202
            return models.Erased.model_validate({"state": "sent"})
        return models.Erased.model_validate(found, from_attributes=True)
