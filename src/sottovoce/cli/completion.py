"""Shell completion: the script that a shell is to read. Knows no command."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what makes a shell complete commands, flags, models and languages.

    \b
      bash   sottovoce completion bash > ~/.local/share/bash-completion/completions/sottovoce
      zsh    sottovoce completion zsh > "${fpath[1]}/_sottovoce"
      fish   sottovoce completion fish > ~/.config/fish/completions/sottovoce.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None, "click knows the shells that are offered"
    click.echo(kind(context.find_root().command, {}, "sottovoce", "_SOTTOVOCE_COMPLETE").source())
