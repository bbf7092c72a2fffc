"""`rekindle explain`: why, gate by gate."""

from collections.abc import Iterable, Mapping
from typing import Any

import click

from agents.cli.base import Group, as_json, emit, language, settings_of
from agents.cli.views_base import as_of, from_kafka, minute, read, sight_of
from agents.exits import Exit, Refusal
from agents.looks import trigger_look, user_look
from pipeline.wording import VERDICTS, Language, Words, say, stated, words

_RISK = Words(
    "risk {p}: P(nothing in {days} days) as of {at} by {model}",
    "风险 {p}：P({days} 天内无活动)，截至 {at}，模型 {model}",
)
_NOW = Words("as of {at}", "截至 {at}")
_THEN = Words("at its deadline {at}, if silence goes on", "到期时 {at}（若继续沉默）")
_THEN_WAS = Words("at its deadline", "到期时")
_DUE = Words("due {at}, decided from {decided}", "{at} 到期，{decided} 起决策")
_NEVER = Words("no deadline", "没有到期时间")
_YES, _NO = Words("yes", "是 "), Words("no ", "否 ")


@click.group(cls=Group)
def explain() -> None:
    """Why a user is recalled or not, gate by gate; or why a trigger was sent."""


@explain.command("user")
@click.argument("user", metavar="ID")
@as_of
@from_kafka
@language
@as_json
@click.pass_context
def of_user(
    ctx: click.Context, *, user: str, as_of: int | None, from_kafka: bool, lang: Language | None, as_json: bool
) -> None:
    """Every rule for the user ID: when it falls due if silence goes on, what it would decide, what is in the way."""
    settings = settings_of(ctx, lang="en" if as_json else lang)
    why = user_look(sight_of(settings, user, kafka=from_kafka), as_of, settings.lang)["why"]
    if as_json:
        emit(why)
        return
    click.echo(stated(user, [why["summary"]], settings.lang))
    moment = minute(why["as_of"])
    if risk := why["risk"]:
        days = f"{risk['horizon'] / 86_400_000:g}"
        click.echo(say(_RISK, settings.lang, p=f"{risk['p_none']:g}", days=days, at=moment, model=risk["model"]))
        click.echo("".join(f"  {reason}\n" for reason in risk["why"]), nl=False)
    for rule in why["rules"]:
        click.echo("\n" + stated(f"{rule['rule']} ({rule['mode']})", [_standing(rule, settings.lang)], settings.lang))
        _gates(rule["now"], say(_NOW, settings.lang, at=moment), settings.lang)
        if rule["then"]:
            _gates(rule["then"], say(_THEN, settings.lang, at=minute(rule["deadline"])), settings.lang)


@explain.command("trigger")
@click.argument("identity", metavar="ID")
@language
@as_json
@click.pass_context
def of_trigger(ctx: click.Context, *, identity: str, lang: Language | None, as_json: bool) -> None:
    """Why the trigger ID was sent, or was not: its gates as they were. Among the last decisions only."""
    settings = settings_of(ctx, lang="en" if as_json else lang)
    document = read(settings, lambda views: views.trigger(identity))
    if document is None:
        raise Refusal(Exit.USAGE, f"no trigger {identity!r} is among the last decisions")
    look = trigger_look(document, settings.lang)
    if as_json:
        emit(look)
        return
    click.echo(look["summary"])
    _gates(look["gates"], say(_THEN_WAS, settings.lang), settings.lang)


def _standing(rule: Mapping[str, Any], language: Language) -> str:
    if rule["foretold"] is None:
        return "; ".join(rule["why_not"]) or say(_NEVER, language)
    when = say(_DUE, language, at=minute(rule["deadline"]), decided=minute(rule["decided_from"]))
    what = stated(words(VERDICTS, rule["foretold"], language), rule["why_not"], language)
    return stated(when, [what], language)


def _gates(gates: Iterable[Mapping[str, Any]], title: str, language: Language) -> None:
    click.echo(f"  {title}")
    yes, no = click.style(say(_YES, language), "green"), click.style(say(_NO, language), "red")
    for gate in gates:
        mark = yes if gate["passed"] else no
        if gate["feature"].startswith("risk."):  # what the risk is made of is no gate
            mark = "   "
        click.echo(f"    {mark}  {gate['words']}")
