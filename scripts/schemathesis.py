"""Ask a running service what its OpenAPI document promises: schemathesis in an environment of its own.

    python -m venv /somewhere && /somewhere/bin/pip install "schemathesis>=4.32,<5"
    sottovoce serve --model tiny.en --port 8000
    /somewhere/bin/python scripts/schemathesis.py http://127.0.0.1:8000 --minutes 10

Recordings are real clips as often as they are noise, so that decoding is reached. Fails on a status of 500, and on an
answer that the document does not promise. That a request which fits the schema may be refused is no failure: a schema
cannot say that there is sound in a file.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
CLIP = ROOT / "src" / "sottovoce" / "audio" / "assets" / "known.ogg"
# a document cannot say what is in a file, nor that two fields exclude each other
NOT_CHECKED = "positive_data_acceptance"


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("address")
    p.add_argument("--minutes", type=float, default=10)
    p.add_argument("--examples", type=int, default=100_000, help="of each operation, at most")
    p.add_argument("--key", default="", help="an API key, where the service wants one")
    args, more = p.parse_known_args()
    env = {**os.environ, "SCHEMATHESIS_HOOKS": "clips", "PYTHONPATH": str(Path(__file__).parent / "schemathesis_hooks")}
    command = [str(Path(sys.executable).with_name("st")), "run", f"{args.address}/openapi.json"]
    command += ["--checks", "all", "--exclude-checks", NOT_CHECKED, "--continue-on-failure"]
    command += ["--phases", "coverage,fuzzing", "--max-examples", str(args.examples)]
    command += ["--max-time", str(round(args.minutes * 60)), "--request-timeout", "120", "--max-response-time", "120"]
    # what takes a model away from the other requests is asked by the tests
    command += ["--exclude-path-regex", r"/(unload|pull)$", "--exclude-method", "DELETE"]
    command += ["-H", f"Authorization: Bearer {args.key}"] if args.key else []
    return subprocess.run([*command, *more], env=env).returncode


if __name__ == "__main__":
    sys.exit(main())
