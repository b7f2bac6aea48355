"""`sottovoce doctor`: what this machine offers, and what is missing."""

import click


@click.command()
def doctor() -> None:
    """Look at this machine."""
