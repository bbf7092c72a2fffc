"""Time zones, from the pinned package `tzdata` alone: the machine's own files would make replays differ."""

from functools import lru_cache
from importlib import resources
from zoneinfo import ZoneInfo


@lru_cache(maxsize=1024)
def zone(name: str) -> ZoneInfo | None:
    """The IANA time zone of that name; None if there is none."""
    parts = name.split("/")
    if not all(part and part.replace("_", "a").replace("-", "a").replace("+", "a").isalnum() for part in parts):
        return None
    try:
        with resources.files("tzdata").joinpath("zoneinfo", *parts).open("rb") as file:
            return ZoneInfo.from_file(file, key=name)
    except (OSError, ValueError):
        return None
