"""Where triggers go: a signed webhook (https://www.standardwebhooks.com) or Segment's track call, one request each."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from time import perf_counter
from typing import Any, Final, Literal, NamedTuple, Protocol, Self

from aiohttp import ClientError, ClientSession, ClientTimeout, encode_basic_auth
from standardwebhooks import Webhook
from yarl import URL

from agents.exits import Exit, Refusal
from schemas.codec import encode_json
from schemas.trigger import Trigger

Verdict = Literal["taken", "refused", "later"]

# The receiver has understood the request and will never take this trigger. Whatever else is wrong (a wrong address or
# key among it) may be mended before the trigger expires.
_REFUSED: Final = frozenset({400, 413, 422})
_TIMEOUT: Final = 20.0  # s
_LONGEST_WAIT: Final = 3600.0  # s of a Retry-After that are believed


class Answer(NamedTuple):
    """What came back: a status, or None and why. `wait`: seconds for which the receiver wants to be left alone."""

    status: int | None
    seconds: float
    why: str = ""
    wait: float = 0.0

    @property
    def verdict(self) -> Verdict:
        """What to do now."""
        if self.status is not None and 200 <= self.status < 300:
            return "taken"
        return "refused" if self.status in _REFUSED else "later"

    def __str__(self) -> str:
        return self.why if self.status is None else f"HTTP {self.status}"


class Request(NamedTuple):
    """Body and headers of one attempt."""

    body: bytes
    headers: dict[str, str]


class Format(Protocol):
    """How a trigger is put. Called for each attempt anew: a signature holds its time."""

    def request(self, trigger: Trigger, body: bytes, now: datetime) -> Request:
        """The request for a trigger, whose record's value is `body`."""


class SignedWebhook:
    """The trigger as it is, signed with each key: while a key is being replaced there are two."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._signers = [Webhook(secret) for secret in secrets]

    def request(self, trigger: Trigger, body: bytes, now: datetime) -> Request:
        """See Format."""
        text = body.decode()
        headers = {
            "content-type": "application/cloudevents+json; charset=utf-8",
            "webhook-id": trigger.id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(signer.sign(trigger.id, now, text) for signer in self._signers),
        }
        return Request(body, headers)


class SegmentTrack:
    """A track call `Recall Triggered`. It is no activity of the user, should it come back to the user topic."""

    def __init__(self, write_key: str) -> None:
        self._authorization = encode_basic_auth(write_key, "")

    def request(self, trigger: Trigger, body: bytes, now: datetime) -> Request:  # noqa: ARG002 the protocol's
        """See Format."""
        data = trigger.data
        call = {
            "messageId": trigger.id,
            "type": "track",
            "event": "Recall Triggered",
            "userId": trigger.subject,
            "timestamp": now.isoformat(timespec="milliseconds"),
            "properties": {
                "trigger_id": trigger.id,
                "rule_id": data.rule_id,
                "channel": data.channel,
                "template_id": data.template_id,
                "priority": data.priority,
                "lifecycle": data.lifecycle,
                "silent_since": data.episode.start,
                "expires_at": data.expires_at,
            },
            "context": {"active": False, "locale": data.locale, "timezone": data.timezone},
        }
        return Request(encode_json(call), {"content-type": "application/json", "authorization": self._authorization})


class Target:
    """One HTTP address. An async context manager."""

    def __init__(self, url: str, form: Format, *, timeout: float = _TIMEOUT) -> None:
        self._url = url
        self._form = form
        self._timeout = ClientTimeout(total=timeout)
        self._session: ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = ClientSession(timeout=self._timeout, headers={"user-agent": "rekindle-relay"})
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def hand_over(self, trigger: Trigger, body: bytes) -> Answer:
        """One attempt. A redirect is no answer: a signed message goes where its sender was told to send it."""
        if self._session is None:
            msg = "the target is not open"
            raise RuntimeError(msg)
        request = self._form.request(trigger, body, datetime.now(UTC))
        began = perf_counter()
        try:
            async with self._session.post(
                self._url, data=request.body, headers=request.headers, allow_redirects=False
            ) as answer:
                await answer.content.read(1024)
                return Answer(answer.status, perf_counter() - began, wait=_wait(answer.headers))
        except TimeoutError:
            return Answer(None, perf_counter() - began, f"no answer within {self._timeout.total:.0f} s")
        except (ClientError, OSError) as error:
            return Answer(None, perf_counter() - began, type(error).__name__)


def make_target(url: str, form: str, secret_file: Path) -> Target:
    """A target as the command line names it.

    Raises:
        Refusal: no HTTP address, or a secret that can't be used.
    """
    if URL(url).scheme not in ("http", "https") or not URL(url).host:
        raise Refusal(Exit.USAGE, f"{url} is no http(s) address")
    secrets = [line.strip() for line in secret_file.read_text().splitlines() if line.strip()]
    if not secrets:
        raise Refusal(Exit.USAGE, f"{secret_file} is empty: it has to hold the secret, one a line")
    if form == "segment":
        return Target(url, SegmentTrack(secrets[0]))
    try:
        return Target(url, SignedWebhook(secrets))
    except Exception as error:  # the library raises what base64 does, and kinds of its own
        line = f"{secret_file} holds no webhook secret (whsec_ and base64 of 24 to 64 random bytes)"
        raise Refusal(Exit.USAGE, line) from error


def _wait(headers: Mapping[str, Any]) -> float:
    """Retry-After: seconds or a date."""
    text = str(headers.get("retry-after", ""))
    if text.isdecimal():
        return min(float(text), _LONGEST_WAIT)
    try:
        seconds = (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds() if text else 0.0
    except (ValueError, TypeError):
        return 0.0
    return min(max(seconds, 0.0), _LONGEST_WAIT)
