"""`sottovoce doctor`: the findings of `cli.findings`, for a person or a program. Looks at nothing itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from sottovoce.cli.exits import Exit
from sottovoce.cli.options import config_of, settings, start_log
from sottovoce.cli.screen import Screen
from sottovoce.cli.tables import print_json

if TYPE_CHECKING:
    from sottovoce.cli.findings import Finding

COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="for programs")
@click.option("--no-sources", is_flag=True, help="ask no source of models whether it answers")
@click.option("--no-self-test", is_flag=True, help="transcribe nothing")
@settings("model", "model_dir", "offline", "device", "compute", "threads", "log_level")
def doctor(as_json: bool, no_sources: bool, no_self_test: bool, **given: Any) -> int:
    """Look at this machine: is all there that transcribing needs, and what would be chosen?

    Each finding is ok, warn or fail, with what to do about it. The self-test transcribes a known clip with --model,
    or else with the smallest model on this disk. The exit code is 0 if nothing fails, else 7.
    """
    from sottovoce.cli.findings import findings

    model_given = given["model"] is not None
    config = config_of(given)
    screen = Screen()
    start_log(config, screen.write)
    found = []
    for finding in findings(config, sources=not no_sources, self_test=not no_self_test, this_model=model_given):
        found.append(finding)
        if not as_json:
            _print(finding)
    failed = [finding.name for finding in found if finding.status == "fail"]
    if as_json:
        print_json({"ok": not failed, "findings": [finding.to_dict() for finding in found]})
    elif failed:
        click.echo(f"failed: {', '.join(failed)}")
    return Exit.UNFIT if failed else Exit.DONE


def _print(finding: Finding) -> None:
    status = click.style(f"{finding.status:4}", fg=COLOURS[finding.status])
    click.echo(f"{status} {finding.name:12} {finding.said}")
    if finding.remedy:
        click.echo(f"{'':17} -> {finding.remedy}")
