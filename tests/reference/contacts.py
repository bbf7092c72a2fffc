"""What follows a decision to send or to hold out: "Contacts" of docs/semantics.md, and the sums of it."""

import xxhash

from pipeline.policy import NotActivated, Rule
from schemas.partitioner import murmur2
from tests.reference.person import Measured, Sent, User
from tests.reference.reading import DAY
from tests.reference.world import World

Cell = tuple[str, str, str]


def begin(world: World, user: User, rule: Rule, trigger: str, moment: int, *, withheld: bool, held: bool) -> None:
    """The first message opens a goal window, which is measured from now on."""
    salt, overall = world.policy.salt, world.policy.holdout
    share = 1 - (1 - overall) * (1 - rule.holdout)
    cells = [(rule.id, f"{share:g}/{salt}", "holdout" if held else "treatment")]
    if overall > 0:
        cells.append(("*", f"{overall:g}/{salt}", "holdout" if withheld else "treatment"))
    firsts = []
    for cell in cells:
        name = xxhash.xxh32_intdigest(f"{cell[0]}/{salt}".encode())
        if name not in user.drawn:
            user.drawn = [*user.drawn, name][-16:]
            firsts.append(cell)
    mark = xxhash.xxh32_intdigest(f"{rule.id}/".encode())
    if isinstance(rule.when, NotActivated) and mark not in user.drawn:
        user.drawn = [*user.drawn, mark][-16:]
    end = moment + rule.goal.within
    user.contact = Measured(trigger, rule.id, moment, end, rule.goal.event, cells, firsts)
    _count(world, user.contact, "decided", trial="users")


def keep(world: World, user: User, rule: Rule, message: Sent) -> None:
    """Every message counts for the caps, and for the ceiling of its rule."""
    user.sent = [*(one for one in user.sent if one.at > message.at - 7 * DAY), message][-64:]
    world.contacted[rule.id, world.hour] += 1


def spend(world: World, user: User, perk: str) -> None:
    """A perk was offered."""
    cost, slot = world.policy.perks[perk].cost, f"{murmur2(user.key.encode()) % 256:03d}"
    world.add("perks", (perk, slot), "spent", cost)
    world.add("perks", (perk, slot), "offers")
    if user.contact is not None:
        _count(world, user.contact, "perk_cost", cost, trial="perk_cost")


def measure(world: World, user: User, goal: int | None = None, value: int | None = None) -> None:
    """Write the outcome of the open goal window; steps that are still to come are dropped."""
    contact = user.measured
    assert contact is not None
    contact.open = False
    user.waiting = [due for due in user.waiting if not (due.rule == contact.rule and due.step)]
    _count(world, contact, "measured", trial="measured")
    _count(world, contact, "returned", contact.back is not None, trial="returned")
    _count(world, contact, "recalled", goal is not None, trial="recalled")
    _count(world, contact, "value", value or 0, trial="value")
    for name, stratum, arm in contact.first:
        world.add("trials", (contact.at // DAY, name, stratum, arm), "payers", (value or 0) > 0)
    world.outcomes.append((contact.id, contact.arm, goal is not None, contact.back, goal, value, contact.end))


def report(world: World, user: User, kind: str, trigger: str, time: int) -> None:
    """Feedback of kind `kind` on a message."""
    one = next((sent for sent in user.sent if sent.id == trigger), None)
    if one is None:
        return
    if kind not in one.heard and user.contact is not None and one.at >= user.contact.at:
        _count(world, user.contact, kind)
    one.heard.add(kind)
    if kind == "failed":
        user.sent.remove(one)
    elif kind == "bounced":
        user.unreachable[one.channel] = time
    elif kind in ("delivered", "clicked") and time >= user.unreachable.get(one.channel, time):
        user.unreachable.pop(one.channel, None)


def _count(world: World, contact: Measured, field: str, amount: int = 1, trial: str | None = None) -> None:
    for name, stratum, arm in contact.cells:
        world.add("outcomes", (contact.at // DAY, name, stratum, arm), field, amount)
    for name, stratum, arm in contact.first if trial else ():
        world.add("trials", (contact.at // DAY, name, stratum, arm), str(trial), amount)
