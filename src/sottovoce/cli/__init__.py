"""The command line: what was typed -> the rooms below. Text on stdout, all else on stderr. Knows no algorithm.

Importing it, and printing any help, needs click alone; each command imports the rooms that it works with.
"""

from sottovoce.cli.app import main

__all__ = ["main"]
