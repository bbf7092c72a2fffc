"""The demo from its first line to its last: Kafka, policy, workers, history, summary; and nothing is left behind."""

import asyncio
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Final

from rich.console import Console
from rich.live import Live
from rich.text import Text

from agents.demo import history
from agents.demo.audience import Audience
from agents.demo.place import kafka, run_folder
from agents.demo.player import Player
from agents.demo.staff import Staff
from agents.demo.summary import Reader, Result, reach, report, what_next
from agents.demo.view import Scene, line, picture, save_picture
from agents.demo.window import Window, window
from agents.exits import Exit, Refusal
from agents.kafka.adopt import publish_model
from agents.kafka.connection import client_options
from agents.kafka.publish import publish_policy
from agents.kafka.read import open_logs
from agents.local import home
from agents.oracle import examine
from agents.process import follow_parent
from agents.settings import Settings
from pipeline.play import Raw
from schemas.topics import DEMO_PARTITIONS, USERS

POLICY: Final = Path(__file__).with_name("policy.yaml")
MODEL: Final = Path(__file__).with_name("model.json")
"""A churn model, as `rekindle fit --model logistic --horizon 60d` makes it of the events before `history.LEARNED`."""
STOPPED: Final = 130
"""Exit code of a demo that was stopped before its summary."""
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_FRAME: Final = 0.125  # s
_LINE: Final = 3.0  # s between two lines, where there is no terminal
_PATIENCE: Final = 60.0  # s without progress after the last record
_PICTURE_AT: Final = 0.45  # of the history
_WIDE: Final = 100  # columns


@dataclass(frozen=True)
class Options:
    """`seconds`: for the whole history. `leave`: end after the summary. `yours`: how to reach a Kafka of yours; None
    starts one. `svg`: where to save a picture of the view.
    """

    seconds: float = 35.0
    leave: bool = False
    yours: Settings | None = None
    svg: Path | None = None


class _Interrupted(Exception):
    """A signal asked to end."""


class Demo:
    """One run."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._console = Console(highlight=False)
        if not self._console.is_terminal:
            self._console = Console(highlight=False, width=110, color_system=None)
        self._code = STOPPED

    def run(self) -> int:
        """Run it. Returns the exit code: 0 if the counts add up and the oracle agrees, 1 if not, 130 if it was stopped.

        Raises:
            Refusal: why it can't run.
        """
        follow_parent()
        for number in _SIGNALS:
            signal.signal(number, _raise_interrupted)
        yours = self._options.yours
        try:
            with run_folder() as folder:
                raws = history.events(history.load(home(), self._say))
                self._say("starting Kafka" if yours is None else f"using your Kafka at {yours.brokers}")
                with kafka(yours, folder, self._say) as (settings, where):
                    try:
                        asyncio.run(self._until_stopped(settings, where, folder, raws))
                    finally:
                        for number in _SIGNALS:  # what follows takes a second, and must not be cut short
                            signal.signal(number, signal.SIG_IGN)
        except _Interrupted:
            pass
        if not self._options.leave:
            self._say("stopped: nothing of it is running any more")
        return self._code

    def _say(self, text: str) -> None:
        self._console.print(Text(text, style="dim"))

    async def _until_stopped(self, settings: Settings, where: str, folder: Path, raws: Sequence[Raw]) -> None:
        work = asyncio.create_task(self._work(settings, where, folder, raws))
        loop = asyncio.get_running_loop()

        def stop() -> None:
            for number in _SIGNALS:  # once: leaving must not be cancelled, too
                loop.add_signal_handler(number, lambda: None)
            work.cancel()

        for number in _SIGNALS:
            loop.add_signal_handler(number, stop)
        await asyncio.wait([work])
        if not work.cancelled():
            work.result()

    async def _work(self, settings: Settings, where: str, folder: Path, raws: Sequence[Raw]) -> None:
        async with window(settings, folder, self._say) as readers, Player(settings, DEMO_PARTITIONS, raws) as player:
            await player.declare()
            await publish_policy(settings, POLICY.read_bytes())
            await publish_model(settings, MODEL.read_bytes())
            self._say("starting two workers")
            staff, audience = Staff(settings, folder), Audience(settings, DEMO_PARTITIONS)
            watching = [asyncio.create_task(audience.run()), asyncio.create_task(staff.watch())]
            try:
                await staff.ready(DEMO_PARTITIONS)
                if readers is not None:  # now: it is the workers that the history waits for
                    readers.start()
                playing = asyncio.create_task(self._play(settings, player, audience, staff))
                watching.append(playing)
                await self._show(watching, playing, lambda: _scene(where, player, audience, staff, len(raws)))
                self._say("asking the oracle: the whole log once more through the core, and everything compared")
                evidence, findings = await examine(settings)
                user = audience.recent[-1].subject if audience.recent else None
                views = None if readers is None else await readers.errors(user)
                seen = audience.counts, audience.stages, audience.sums, reach(evidence)
                result = Result(*seen, findings, views)
                self._console.print(report(result, wide=self._console.width >= _WIDE))
                self._code = Exit.BUG if result.errors else Exit.OK
                if not self._options.leave:
                    metrics = [member.metrics for member in staff.members]
                    reader = Reader(settings) if readers is None else Reader(readers.settings, readers.api, user)
                    self._console.print(what_next(reader, metrics))
                    await self._linger(staff, readers)
            finally:
                for task in watching:
                    task.cancel()
                await asyncio.gather(*watching, return_exceptions=True)
                await asyncio.to_thread(staff.stop)

    async def _play(self, settings: Settings, player: Player, audience: Audience, staff: Staff) -> None:
        """Play everything, and wait until all of it has become visible."""
        await player.perform(self._options.seconds)
        async with open_logs(client_options(settings)) as logs:
            ends = await logs.ends(settings.topic(USERS.name))
        progressed, seen = monotonic(), -1
        while not audience.folded(ends):
            staff.check()
            offset = sum(position.offset for position in audience.positions.values())
            if offset > seen:
                progressed, seen = monotonic(), offset
            elif monotonic() - progressed > _PATIENCE:
                log = staff.members[0].log
                raise Refusal(Exit.BUG, f"the workers have made no progress for {_PATIENCE:.0f} s; see {log}")
            await asyncio.sleep(0.05)

    async def _show(
        self, watching: list[asyncio.Task[None]], playing: asyncio.Task[None], scene: Callable[[], Scene]
    ) -> None:
        """Show what happens until everything has been played. Raises whatever one of the tasks raised."""
        console, svg = self._console, self._options.svg
        live = Live(console=console, auto_refresh=False, vertical_overflow="crop") if console.is_terminal else None
        if live:
            live.start()
        try:
            while True:
                now = scene()
                if live:
                    live.update(picture(now, console.width, console.height), refresh=True)
                else:
                    console.print(line(now), soft_wrap=True)
                if svg and now.share >= _PICTURE_AT:
                    save_picture(now, svg)
                    svg = None
                if playing.done():
                    break
                done, _ = await asyncio.wait(watching, timeout=_FRAME if live else _LINE, return_when="FIRST_COMPLETED")
                for task in done:
                    task.result()
        finally:
            if live:
                live.stop()

    async def _linger(self, staff: Staff, readers: Window | None) -> None:
        """Stay until cancelled; tell of what ends."""
        ended: set[str] = set()
        while True:
            codes = {f"worker {member.number}": member.process.poll() for member in staff.members}
            codes |= {part.name: part.code for part in readers.parts} if readers else {}
            for name, code in codes.items():
                if code is not None and name not in ended:
                    ended.add(name)
                    self._say(f"{name} ended with code {code}")
            await asyncio.sleep(0.5)


def _raise_interrupted(*_: Any) -> None:
    raise _Interrupted


def _scene(where: str, player: Player, audience: Audience, staff: Staff, events: int) -> Scene:
    horizons = [position.horizon or player.start for position in audience.positions.values()]
    visible = min(horizons) if len(horizons) == DEMO_PARTITIONS else player.start
    return Scene(
        where=where,
        start=player.start,
        end=player.end,
        now=min(max(visible, player.start), player.end),
        events=events,
        read=audience.counts.read,
        rate=audience.rate,
        stages=audience.stages,
        sent=audience.sent,
        recent=audience.recent,
        workers=staff.members,
    )
