"""Other libraries' Python surfaces over ours: a program changes its import line and runs."""
