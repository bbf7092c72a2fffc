"""What is published of churn models and leases, before it goes to Kafka."""

from hashlib import sha256

import pytest

from agents.exits import Exit, Refusal
from agents.kafka.adopt import current_policy, describe, draft_lease, last_lease, model_history
from agents.kafka.publish import Publication
from pipeline.perks import SLOTS
from pipeline.risk import Recency
from pipeline.sums.base import Dims
from pipeline.units import DAY
from schemas.codec import decode_lease, encode_json
from schemas.control import Adopt
from tests.builders import POLICY, digest, registry

Cells = dict[tuple[str, Dims], list[int]]
PERKS = POLICY + "perks: [{id: ten-off, cost: 10, budget: 10240}]\n"


def published(policy: str, at: int = 1) -> dict[str, bytes]:
    entry = Publication(digest(policy), "2026-01-01T00:00:00.000Z", "ann", {})
    return registry(policy) | {f"history/{at}": encode_json(entry)}


def test_a_lease_is_built_on_what_was_published_before_it() -> None:
    """Whoever leases again has no fresher figures: nothing is leased twice."""
    known = published(PERKS)
    found, draft = draft_lease(known, {})
    [message] = draft.messages
    assert isinstance(message, Adopt)
    slots = decode_lease(draft.bodies[f"lease/{message.lease}"]).perks["ten-off"]
    assert (slots, found["ten-off"].slots) == ([2_000] * SLOTS, [2_000] * SLOTS)
    assert draft_lease({**known, **draft.bodies}, {})[1] == ({}, [])
    used_up: Cells = {("perks", ("ten-off", "007")): [2_000, 2]}
    again, draft = draft_lease({**known, **draft.bodies}, used_up)
    assert again["ten-off"].before == slots
    assert [(slot, new) for slot, new in enumerate(again["ten-off"].slots) if new != 2_000] == [(7, 2_000 + 256_000)]
    assert len(draft.messages) == 1


def test_what_is_used_up_is_followed_by_the_rest() -> None:
    known, total = published(PERKS), 0
    for _ in range(40):
        lease = last_lease(known).get("ten-off", [0] * SLOTS)
        spent: Cells = {
            ("perks", ("ten-off", f"{slot:03d}")): [amount, amount // 10] for slot, amount in enumerate(lease)
        }
        known |= draft_lease(known, spent)[1].bodies
        total = sum(last_lease(known)["ten-off"])
    assert total == 1_024_000


def test_a_perk_that_has_gone_keeps_its_lease() -> None:
    known = published(PERKS)
    known |= draft_lease(known, {})[1].bodies
    other = PERKS.replace("ten-off", "five-off")
    known |= published(other, 2)
    known |= draft_lease(known, {})[1].bodies
    assert {perk: sum(slots) for perk, slots in last_lease(known).items()} == {"ten-off": 512_000, "five-off": 512_000}


def test_without_a_policy_or_perks_there_is_nothing_to_lease() -> None:
    with pytest.raises(Refusal, match="no policy was published yet"):
        draft_lease({}, {})
    assert draft_lease(published(POLICY), {}) == ({}, ({}, []))


def test_a_lease_that_is_lost_is_not_begun_anew() -> None:
    known = published(PERKS)
    [body, entry] = draft_lease(known, {})[1].bodies.items()
    assert body[0].startswith("lease/")
    with pytest.raises(Refusal, match="has lost the lease"):
        draft_lease(known | dict([entry]), {})


def test_the_last_policy_counts() -> None:
    assert current_policy(published(POLICY) | published(PERKS, 2)).hash == digest(PERKS)


def test_a_model_is_described_by_its_own_words() -> None:
    body = Recency(90 * DAY, 0.0, 1.0, 1.0).to_json()
    entry = describe(body)
    assert (entry.model, entry.kind, entry.horizon, entry.auc) == (sha256(body).hexdigest(), "recency", 90 * DAY, None)
    assert model_history({"models/1": encode_json(entry), "model/x": body, "history/1": b"{}"}) == [entry]


@pytest.mark.parametrize(
    "body", [b"", b"{}", b'{"kind": "oracle/1"}', Recency(1, 0.0, 0.0, 1.0).to_json()[:-3], b"\xff"]
)
def test_what_is_no_model_is_refused_readably(body: bytes) -> None:
    with pytest.raises(Refusal, match="the model can't be used: ") as refused:
        describe(body)
    assert refused.value.code == Exit.POLICY
