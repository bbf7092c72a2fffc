"""Real histories as events: tables of (user_id, ts, ..) with the other columns as properties."""

import csv
import gzip
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from pipeline.play import Raw, in_order
from pipeline.units import DAY, HOUR
from schemas.codec import rfc3339


class Bar(NamedTuple):
    """A data set's folder, the horizon (ms), and the published figures to compare with: AUC, log loss, ECE."""

    folder: str
    horizon: int
    recency: tuple[float, float, float]
    mbg: tuple[float, float, float]
    logistic: tuple[float, float, float]


BARS: Final = {
    "CDNOW": Bar("cdnow_sample", 90 * DAY, (0.632, 0.699, 0.126), (0.704, 0.607, 0.013), (0.715, 0.598, 0.020)),
    "UCI": Bar("uci_online_retail", 60 * DAY, (0.597, 0.695, 0.099), (0.721, 0.608, 0.053), (0.725, 0.602, 0.040)),
    "kafka-git": Bar("git_kafka", 90 * DAY, (0.776, 0.519, 0.020), (0.834, 0.465, 0.039), (0.859, 0.417, 0.023)),
    "grocery": Bar("grocery_btydplus", 60 * DAY, (0.697, 0.633, 0.091), (0.786, 0.543, 0.047), (0.815, 0.531, 0.076)),
}
"""The table of docs/methods/churn.md. CDNOW's bar is of all 23,570 customers, the data at hand are the 1/10 sample."""


def history(folder: Path) -> list[Raw]:
    """The events of `folder`/events.csv.gz in order of time; what has a day only is taken to be at noon."""
    raws = []
    with gzip.open(folder / "events.csv.gz", "rt") as lines:
        for number, row in enumerate(csv.DictReader(lines)):
            time = int(datetime.fromisoformat(row["ts"]).replace(tzinfo=UTC).timestamp() * 1000)
            time += 12 * HOUR if len(row["ts"]) == 10 else 0
            user = f"u{row['user_id']}"
            body = {
                "messageId": f"{user}-{number}",
                "type": "track",
                "event": "Activity",
                "userId": user,
                "timestamp": rfc3339(time),
            }
            raws.append(Raw(user.encode(), msgspec.json.encode(body), time))
    return in_order(raws)
