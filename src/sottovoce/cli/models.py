"""`sottovoce models`: what is published, what is on this disk. Asks model.hub."""

import click


@click.group()
def models() -> None:
    """List, fetch, show, verify, remove and export models."""
