"""Who is considered when, and what is decided: "Recall" and "Gates" of docs/semantics.md."""

from datetime import datetime
from hashlib import sha256
from typing import Any, Final

import xxhash

from pipeline.policy import Caps, InSegment, NotActivated, PAliveBelow, Rule, Silence
from pipeline.risk import FAR, crossing
from pipeline.zones import zone
from schemas.partitioner import murmur2
from tests.reference import contacts
from tests.reference.buying import shown
from tests.reference.person import NEVER, Sent, User, Waiting
from tests.reference.reading import DAY
from tests.reference.scores import activity_of
from tests.reference.world import World

MINUTE: Final = 60_000
FOR_TIME: Final = ("cooldown", "cap_day", "cap_week", "channel_cap_day", "channel_cap_week", "quiet_hours")
VERDICTS: Final = {
    "returned": "returned",
    "expired": "stale",
    "episode_taken": "episode_taken",
    "shadow_mode": "shadow",
}


def deadline(world: World, user: User, rule: Rule) -> int:
    """Of a user with activity, in effective time; NEVER: there is none."""
    found = _by_itself(world, user, rule)
    switched = world.switched[rule.id][1]
    if rule.backlog is not None and found < switched and not begun(user, rule):
        hashed = xxhash.xxh3_64_intdigest(f"backlog\x1f{user.key}\x1f{rule.id}".encode())
        return switched + hashed * rule.backlog // 2**64
    return found


def begun(user: User, rule: Rule) -> bool:
    """Whether it waits in this episode already, or has contacted the user in one that comes once in a life."""
    mine = [waits for waits in user.waiting if waits.rule == rule.id]
    if isinstance(rule.when, NotActivated):
        return bool(mine) or xxhash.xxh32_intdigest(f"{rule.id}/".encode()) in user.drawn
    return rule.kind == "recall" and any(waits.episode == user.last and not waits.step for waits in mine)


def _by_itself(world: World, user: User, rule: Rule) -> int:
    silence, when = user.silence, rule.when
    if isinstance(when, Silence):
        return silence + when.after
    if isinstance(when, NotActivated):
        return NEVER if user.activated else user.beginning + when.after
    if isinstance(when, InSegment):
        return NEVER
    if user.days < when.min_active_days:
        return NEVER
    age = user.last - user.first
    if isinstance(when, PAliveBelow):
        alive = world.policy.risk.crossing(user.days - 1, age, when.threshold)
        return silence + max(when.min_silence, alive - age)
    if world.model is None:
        return NEVER
    found = crossing(world.model, activity_of(user), when.threshold, silence, silence + when.min_silence)
    return NEVER if found < world.model_since or found >= silence + FAR else found


def fresh(user: User, rule: Rule, at: int) -> Waiting:
    """What a rule has to decide that falls due at `at` (real time)."""
    episode = user.first if isinstance(rule.when, NotActivated) else user.last if rule.kind == "recall" else at
    return Waiting(rule.id, 0, episode, at, at)


def rule_of(world: World, due: Waiting) -> Rule | None:
    """None: the policy has no such rule or step any more."""
    found = next((rule for rule in world.policy.rules if rule.id == due.rule), None)
    return found if found is not None and due.step <= len(found.steps) else None


def decide(world: World, user: User, due: Waiting, moment: int, *, back: bool) -> None:
    """Test all gates at `moment`; decide, or wait."""
    rule = rule_of(world, due)
    assert rule is not None
    step, live = rule.step(due.step), rule.mode == "live"
    expires = due.deadline + rule.expires_after
    channel, failed, opens = _gates(world, user, rule, due, moment, back=back)
    final = [code for code in failed if code not in FOR_TIME]
    reasons = list(dict.fromkeys([*due.reasons, *failed]))
    if failed and not final:
        at = min(max(opens), expires)
        if live and rule.kind == "recall":
            user.episode = due.episode
        user.waiting.append(Waiting(due.rule, due.step, due.episode, due.deadline, at, reasons))
        return
    withheld = world.policy.holdout > 0 and _drawn(world, user, "*", world.policy.holdout)
    held = withheld or _drawn(world, user, rule.id, rule.holdout)
    if due.step and user.contact is not None:
        withheld = any(name == "*" and arm == "holdout" for name, _, arm in user.contact.cells)
        held = user.contact.arm == "holdout"
    if final:
        verdict = VERDICTS.get(final[0], "suppressed")
        verdict = "suppressed" if verdict == "stale" and due.reasons else verdict
    else:
        verdict, reasons = ("holdout" if held else "send"), ["global_holdout"] * withheld
    takes = live and verdict in ("send", "holdout", "suppressed")
    if takes and rule.kind == "recall":
        user.episode = due.episode
    name = "\x1f".join((world.tenant, user.key, rule.id, str(due.episode), str(due.step)))
    trigger = sha256(name.encode()).hexdigest()[:32]
    world.add("decisions", (due.deadline // DAY, rule.id, verdict, reasons[0] if reasons else ""), "count")
    if verdict in ("send", "holdout"):
        if not due.step:
            contacts.begin(world, user, rule, trigger, moment, withheld=withheld, held=held)
        contacts.keep(world, user, rule, Sent(moment, channel, trigger))
        if verdict == "send" and step.perk is not None:
            contacts.spend(world, user, step.perk)
    drawn, share = verdict in ("send", "holdout"), 1 - (1 - world.policy.holdout) * (1 - rule.holdout)
    world.decisions.append(
        {
            "user": user.key,
            "rule": rule.id,
            "step": due.step,
            "time": moment,
            "decision": verdict,
            "reasons": reasons,
            "trigger_id": trigger,
            "channel": channel,
            "template": step.template,
            "next_eligible_at": max(opens, default=None),
            "expires_at": expires,
            "episode": (due.episode, due.deadline),
            "content": (rule.content.feature_id, shown(user, rule.content.items)) if rule.content else None,
            "perk": (step.perk, world.policy.perks[step.perk].cost) if step.perk else None,
            "experiment": (world.policy.salt, round(share, 9), verdict.replace("send", "treatment")) if drawn else None,
            "lifecycle": user.stage,
        }
    )
    contact, goes_on = user.measured, drawn or (verdict == "suppressed" and due.step)
    if live and goes_on and due.step < len(rule.steps) and contact is not None and contact.rule == rule.id:
        at = moment + rule.steps[due.step].after
        user.waiting.append(Waiting(rule.id, due.step + 1, due.episode, at, at))


def _gates(
    world: World, user: User, rule: Rule, due: Waiting, moment: int, *, back: bool
) -> tuple[str, list[str], list[int]]:
    """The channel, the codes of all that fail, in order, and when those open that fail for a time only."""
    policy, live, step = world.policy, rule.mode == "live", rule.step(due.step)
    assert world.clock is not None
    recall, first = rule.kind == "recall", due.step == 0
    failed: list[str] = []
    opens: list[int] = []

    def fails(code: str, so: Any, until: int | None = None) -> None:
        failed.extend([code] if so else [])
        opens.extend([until] if so and until is not None else [])

    fails("returned", recall and back)
    fails("expired", world.clock >= due.deadline + rule.expires_after)
    fails("episode_taken", recall and first and not due.reasons and live and user.episode == user.last)
    fails("activated", isinstance(rule.when, NotActivated) and user.activated)
    fails("not_in_segment", isinstance(rule.when, InSegment) and rule.when.segment not in user.segments)
    fails("paused", world.paused & {None, rule.id})
    fails("unsubscribed", user.profile.get("unsubscribed", False))
    usable = [c for c in (step.channel, step.fallback) if c is not None and not barred(world, user, c)]
    channel = usable[0] if usable else step.channel
    why = {code for c in (step.channel, step.fallback) if c is not None for code in barred(world, user, c)}
    fails("no_consent", not usable and "no_consent" in why)
    fails("unreachable", not usable and "unreachable" in why)
    if first and user.contact is not None:
        cool = max(user.contact.at + rule.cooldown, user.contact.end if user.contact.open else 0)
        fails("cooldown", moment < cool, cool)
    every, own = policy.caps, policy.channel_caps.get(channel, Caps())
    for code, cap, span, channels in (
        ("cap_day", every.per_day, DAY, None),
        ("cap_week", every.per_week, 7 * DAY, None),
        ("channel_cap_day", own.per_day, DAY, channel),
        ("channel_cap_week", own.per_week, 7 * DAY, channel),
    ):
        times = sorted(s.at for s in user.sent if channels in (None, s.channel) and s.at > moment - span)
        if cap is not None and len(times) >= cap:
            fails(code, True, times[-cap] + span)
    awake = _awake(world, user, moment)
    fails("quiet_hours", awake > moment, awake)
    if step.perk is not None:
        cell = f"{murmur2(user.key.encode()) % 256:03d}"
        left = world.lease.get(step.perk, [0] * 256)[int(cell)] - world.sums["perks", (step.perk, cell), "spent"]
        fails("budget_spent", left < policy.perks[step.perk].cost)
    fails("shadow_mode", not live)
    if live and not failed and rule.ceiling is not None:
        fails("ceiling", world.contacted[rule.id, world.hour] >= rule.ceiling)
        world.paused |= {rule.id} if failed else set()
    return channel, failed, opens


def barred(world: World, user: User, channel: str) -> set[str]:
    """Why this channel may not be used."""
    consent = world.policy.consent[channel]
    said = user.profile.get("consent", {}).get(consent.trait)
    agreed = said is True if consent.basis == "opt_in" else said is not False
    return {*([] if agreed else ["no_consent"]), *(["unreachable"] if channel in user.unreachable else [])}


def _awake(world: World, user: User, moment: int) -> int:
    """The first minute from that of `moment` on that is not quiet for the user; `moment` itself if it isn't."""
    hours = world.policy.quiet_hours
    if hours is None:
        return moment
    where = zone(user.profile.get("timezone") or hours.timezone) or zone(hours.timezone)
    assert where is not None

    def quiet(time: int) -> bool:
        local = datetime.fromtimestamp(time / 1000, where)
        minute = local.hour * 60 + local.minute
        start, end = hours.start, hours.end
        return start <= minute < end if start < end else not end <= minute < start

    time = moment
    while quiet(time):
        time = time // MINUTE * MINUTE + MINUTE
    return time


def _drawn(world: World, user: User, what: str, share: float) -> bool:
    hashed = xxhash.xxh3_64_intdigest(f"{world.policy.salt}\x1f{user.key}\x1f{what}".encode())
    return hashed < int(share * 2**64)
