"""`rekindle user`: one user, for a person."""

from typing import Any

import click

from agents.cli.base import as_json, emit, language, settings_of
from agents.cli.views_base import as_of, from_kafka, minute, sight_of
from agents.looks import user_look
from pipeline.wording import Language, decided


@click.command()
@click.argument("user", metavar="ID")
@as_of
@from_kafka
@language
@as_json
@click.pass_context
def user(
    ctx: click.Context, *, user: str, as_of: int | None, from_kafka: bool, lang: Language | None, as_json: bool
) -> None:
    """Show the user ID: activity, risk, channel, segments and tier with what will change in them, episode, decisions.

    `next` is what falls due next, if silence goes on.
    """
    settings = settings_of(ctx, lang="en" if as_json else lang)
    look = user_look(sight_of(settings, user, kafka=from_kafka), as_of, settings.lang)
    if as_json:
        emit(look)
        return
    for name, value in _lines(look, settings.lang):
        click.echo(f"{name:13} {value}")


def _lines(look: dict[str, Any], language: Language) -> list[tuple[str, str]]:
    row, why = look["state"], look["why"]
    lines = [("user", f"{look['user']}  ({row['kind']}, {row['lifecycle']} since {minute(row['lifecycle_since'])})")]
    if activity := row["activity"]:
        days = activity["days_decayed"]
        lines += [
            ("seen", f"{minute(activity['first'])} to {minute(activity['last'])}, on {activity['days']} days"),
            ("lately", f"{days['7d']:.2f} / {days['30d']:.2f} / {days['90d']:.2f} days, half-lives of 7, 30, 90 days"),
            ("silent", f"{why['silent_days']:g} days as of {minute(look['as_of'])}"),
        ]
    lines.append(("channel", f"first {row['journey']['first_channel']}, last {row['journey']['last_channel']}"))
    if risk := look["risk"]:
        horizon = risk["horizon"] / 86_400_000
        said = f"P(alive) {risk['p_alive']:g}; P(nothing in {horizon:g} days) {risk['p_none']:g} by {risk['model']}"
        lines += [("risk", said), *(("", reason) for reason in risk["why"][:3])]
    if profile := row["profile"]:
        consent = ", ".join(f"{channel} {'yes' if given else 'no'}" for channel, given in profile["consent"].items())
        lines.append(
            ("consent", f"{'unsubscribed' if profile['unsubscribed'] else 'subscribed'}; {consent or 'none said'}")
        )
    if recall := row["recall"]:
        if recall["decided_at"]:
            lines.append(("contact", f"{recall['rule_id']}, {recall['arm']}, {minute(recall['decided_at'])}"))
        if look["episode"]:
            lines.append(("episode", f"since {minute(look['episode']['start'])}: it has its one trigger"))
    inside = [f"tier {row['tier']}"] if row["tier"] else []
    inside += [f"segment {each['segment']}" for each in row["segments"]]
    if inside or why["changes"]:
        lines.append(("groups", "; ".join(inside) or "none"))
        lines += [("", f"{minute(c['at'])}  {c['change']}s {c['kind']} {c['name']}") for c in why["changes"]]
    if upcoming := look["next_deadline"]:
        lines.append(("next", f"{minute(upcoming['at'])}  {upcoming['what']}"))
    lines.append(("why", why["summary"]))
    for decision in look["decisions"]:
        data = decision["data"]
        what = decided(data["decision"], data["reasons"], language)
        lines.append(("decided", f"{minute(decision['time'])}  {data['rule_id']}: {what}"))
    return lines
