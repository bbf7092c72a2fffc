"""Churn models from a history: the samples by way of the core, and the files that a fit leaves."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

from agents.exits import Exit, Refusal
from agents.history import Past
from agents.replay import unreadable
from pipeline.parameters import Parameters, parameters
from pipeline.play import Raw, Step, history_span, play
from pipeline.risk import Fitted
from pipeline.risk.document import Events
from pipeline.risk.picture import calibration, lift
from pipeline.risk.report import markdown
from pipeline.samples import Collected, collect
from pipeline.units import HOUR

_REPORT: Final = 10_000  # events between two reports


def samples(past: Past, horizon: int, tenant: str, folded: Callable[[int], None] = lambda _: None) -> Collected:
    """Play a history through the core, with a snapshot every sixth of the horizon (ms).

    `folded` is called now and then with the number of events folded so far.

    Raises:
        Refusal: no event tells a time.
        CoreError: the core fails on an event.
    """
    span = history_span(past.raws)
    if span is None:
        raise Refusal(Exit.USAGE, f"there is no event that tells a time: {unreadable(past.raws)}")
    steps = _counted(play(past.raws, past.adopted), folded)
    return collect(steps, past.partition(tenant), horizon, span[1])


def digest(raws: Sequence[Raw]) -> str:
    """sha256 (hex) of the events' bytes in sorted order, each with a line feed: wherever they were read from."""
    found = sha256()
    for value in sorted(raw.value for raw in raws):
        found.update(value)
        found.update(b"\n")
    return found.hexdigest()


def stated(past: Past, found: Collected) -> Parameters:
    """What a policy can state of the history that these samples are of, as of its end."""
    partition = found.partition
    at = (partition.position.horizon or 0) - partition.guard.dark * HOUR
    states = (state for _, state in partition.states())
    return parameters(states, at, past.policy.currency.reporting, past.policy.value.horizon)


def write(fitted: Fitted, events: Events, policy: Parameters, out: Path, report: Path | None) -> str:
    """Write the model, and its report with two pictures beside it; returns the model's hash.

    Raises:
        Refusal: a file can't be written.
    """
    name = written(fitted.to_json(), out)
    try:
        if report is not None:
            report.parent.mkdir(parents=True, exist_ok=True)
            calibrated, lifted = (report.with_name(f"{report.stem}-{what}.svg") for what in ("calibration", "lift"))
            calibrated.write_text(calibration(fitted.held_out))
            lifted.write_text(lift(fitted.held_out))
            model = markdown(fitted, name, calibrated.name, lifted.name, events)
            report.write_text(f"{model}\n{policy.markdown}")
    except OSError as error:
        raise Refusal(Exit.USAGE, f"{error.filename}: {error.strerror}") from error
    return name


def written(model: bytes, out: Path) -> str:
    """Write a model's document; returns its hash. Raises Refusal: the file can't be written."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(model)
    except OSError as error:
        raise Refusal(Exit.USAGE, f"{error.filename}: {error.strerror}") from error
    return sha256(model).hexdigest()


def _counted(steps: Iterable[Step], folded: Callable[[int], None]) -> Iterator[Step]:
    count = 0
    for step in steps:
        if isinstance(step, Raw):
            count += 1
            if count % _REPORT == 0:
                folded(count)
        yield step
