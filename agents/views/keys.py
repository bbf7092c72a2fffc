"""The keys in Redis, once. All lie below a root; what belongs together lies below a generation of it.

`{root}` is the topic prefix and `views`: `rekindle.views`. A rebuild writes a new generation and then turns
`{root}:current` to it, so that readers never see half of one.

| key | type | what |
|---|---|---|
| `{root}:current` | string | the generation that readers read |
| `{root}:generations` | set | every generation that may have keys |
| `..:about` | string | JSON: which Kafka and which topics it was made from |
| `..:at` | hash | `topic/partition` -> next offset; `owner`, `serial`, `fresh` |
| `..:users:N` | hash | user -> row (bytes of `pipeline.state`), of partition N |
| `..:cells:N` | hash | cell -> partial of partition N |
| `..:sum:NAME` | hash | cell -> the whole, over all partitions |
| `..:positions`, `..:guards` | hash | partition -> its row, its source guard |
| `..:registry` | hash | key -> body: policies |
| `..:decisions` | sorted set | the last decisions by place: append time, partition, offset |
| `..:sent` | sorted set | those of them that were sent |
| `..:documents` | hash | place -> the decision's JSON |
| `..:kept` | hash | place -> user, trigger id, whether it was sent |
| `..:places` | hash | user -> places of their decisions, newest first |
| `..:triggers` | hash | trigger id -> place |
"""

from secrets import token_hex
from typing import Final, NamedTuple

FORMAT: Final = 1
"""Version of this layout; another one is rebuilt."""


class Root(NamedTuple):
    """Where the views of one deployment lie."""

    name: str

    @property
    def current(self) -> str:
        """Names the generation to read."""
        return f"{self.name}:current"

    @property
    def generations(self) -> str:
        """Names all of them."""
        return f"{self.name}:generations"


def root_of(topic_prefix: str) -> Root:
    """The root of a deployment: deployments that share a Redis are kept apart as their topics are."""
    return Root(f"{topic_prefix}views")


class Names(NamedTuple):
    """The keys of one generation. Its name begins with the number of partitions: `8-5f0c2a91`."""

    root: Root
    generation: str

    @property
    def partitions(self) -> int:
        """How many."""
        return int(self.generation.partition("-")[0])

    def __call__(self, *parts: str | int) -> str:
        """A key: `names("users", 3)`."""
        return ":".join((self.root.name, self.generation, *map(str, parts)))


def new_generation(root: Root, count: int) -> Names:
    """A name that was never used."""
    return Names(root, f"{count}-{token_hex(6)}")
