"""What a replay cannot know, in words: said with every backtest, since its figures look surer than they are."""

from typing import Final

LIMITS: Final[dict[str, str]] = {
    "What a message would have done": "Nothing is sent in a replay: whoever comes back does so by themselves, and only "
    "a holdout in production tells the uplift.",
    "Whether this history was treated": "If messages went out while it was recorded, some returns are theirs, and the "
    "wasted share and the base rate are too high.",
    "What follows from a message": "Who is won back falls silent later, who unsubscribes is asked no more; here "
    "everybody goes on as they did.",
    "Who was there before it began": "A history starts cold: everybody is new at their first event, and its first "
    "weeks show too few who are due.",
    "Who would return after its end": "Whoever was silent for the horizon counts as lost, though some would have come.",
    "How events arrived": "They are played in order of their time by one partition: none is late, no rule is paused, "
    "no source is held.",
    "What is published daily": "Leases of budgets and thresholds of quantiles come from a running deployment: here no "
    "budget is ever spent, and a segment by a quantile stays empty.",
}
