"""Scores and what followed: "Scores" of docs/semantics.md."""

from pipeline.activity import Activity
from tests.reference.person import Score, User
from tests.reference.reading import DAY, HOUR
from tests.reference.world import World


def tell(world: World, user: User, at: int) -> None:
    """At the end of an hour (effective time) in which something fell due for the user."""
    if world.model is None or user.score is not None:
        return
    risk = world.model.predict(world.model.features(activity_of(user), at))
    user.score = Score(world.model_version, round(risk * 100), at, at + world.model.horizon)
    world.add("calibration", _cell(user.score), "told")


def hear(world: World, user: User, time: int) -> None:
    """The user is active at `time` (real)."""
    score, moment = user.score, time - world.dark_before(time) * HOUR
    if score is not None and moment > score.at:
        _known(world, user, "came" if moment <= score.until else "silent")


def close(world: World, user: User, end: int) -> None:
    """An hour closes over the user, with this end (effective time)."""
    if user.score is not None and end > user.score.until:
        _known(world, user, "silent")


def lose(world: World, user: User) -> None:
    """The row goes."""
    if user.score is not None:
        world.add("calibration", _cell(user.score), "lost")


def activity_of(user: User) -> Activity:
    """What a churn model asks of a user with activity."""
    return Activity(
        *(user.first, user.last, user.days, *user.decayed, user.ring, user.dark, user.last_id),
        *(user.order_day, user.activated, user.dark_first),
    )


def _known(world: World, user: User, field: str) -> None:
    assert user.score is not None
    world.add("calibration", _cell(user.score), field)
    world.add("calibration", _cell(user.score), "percent", user.score.percent)
    user.score = None


def _cell(score: Score) -> tuple[int, str, str]:
    return score.until // DAY, score.model, f"{min(95, score.percent - score.percent % 5):02d}"
