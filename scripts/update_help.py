"""Writes the --help text of every command into docs/cli.md; with --check only says whether they are current."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from sottovoce.cli.app import cli

PAGE = Path(__file__).parents[1] / "docs" / "cli.md"
START = "<!-- The rest of this page is written by scripts/update_help.py -->"
COLUMNS = 100


def main() -> None:
    old = PAGE.read_text("utf-8")
    head, mark, _ = old.partition(START)
    assert mark, f"{PAGE} has lost its mark: {START}"
    new = head + START + "\n" + "".join(_sections(cli, "sottovoce", None))
    if new == old:
        return
    if "--check" in sys.argv:
        sys.exit("docs/cli.md does not show the help texts as they are; run: python scripts/update_help.py")
    PAGE.write_text(new, "utf-8")


def _sections(command: click.Command, name: str, parent: click.Context | None) -> Iterator[str]:
    context = click.Context(
        command, info_name=name, parent=parent, terminal_width=COLUMNS, max_content_width=COLUMNS,
        **{k: v for k, v in command.context_settings.items() if k != "max_content_width"},
    )  # fmt: skip
    lines = [line.rstrip() for line in command.get_help(context).splitlines()]
    yield f"\n### `{context.command_path}`\n\n```text\n" + "\n".join(lines) + "\n```\n"
    if isinstance(command, click.Group):
        for sub in command.list_commands(context):
            inner = command.get_command(context, sub)
            assert inner is not None, "a group has the commands that it lists"
            yield from _sections(inner, sub, context)


if __name__ == "__main__":
    main()
