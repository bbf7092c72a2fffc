"""Real histories, where they are at hand: set REKINDLE_DATA to the folder that holds `cdnow_sample/events.csv.gz`."""

import csv
import gzip
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

from pipeline.play import Raw, read_raw
from tests.builders import iso, order

DATA: Final = Path(os.environ.get("REKINDLE_DATA", Path(__file__).parents[3] / "shared" / "data"))
_PURCHASES: Final = DATA / "cdnow_sample" / "events.csv.gz"

needs_cdnow = pytest.mark.skipif(not _PURCHASES.exists(), reason=f"no {_PURCHASES}; set REKINDLE_DATA")


def cdnow(most: int | None = None) -> list[Raw]:
    """Purchases of CDNOW's 1/10 sample (Fader, Hardie & Lee 2005) as order events at noon, in order of time.

    `most`: only of the first so many customers.
    """
    raws = []
    with gzip.open(_PURCHASES, "rt") as lines:
        for number, row in enumerate(csv.DictReader(lines)):
            if most is None or int(row["user_id"]) <= most:
                time = int(datetime.fromisoformat(row["ts"]).replace(tzinfo=UTC).timestamp() * 1000) + 12 * 3_600_000
                entry = order(
                    time, f"c{row['user_id']}", row["value"], id=f"{row['user_id']}-{iso(time)[:10]}-{number}"
                )
                raws.append(read_raw(entry.value or b""))
    return sorted(raws, key=lambda raw: raw.time or 0)
