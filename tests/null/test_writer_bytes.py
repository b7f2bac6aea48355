"""The writers against openai-whisper's own output, frozen by scripts/freeze_writer_outputs.py."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from sottovoce.text.formats import FORMATS, Layout, Transcript

FROZEN: dict[str, Any] = json.loads((Path(__file__).parents[1] / "data" / "writer_bytes.json").read_text("utf-8"))
CASES: list[dict[str, Any]] = FROZEN["cases"]


@pytest.mark.parametrize("i_case", range(len(CASES)))
def test_bytes_are_the_references(i_case: int) -> None:
    case = CASES[i_case]
    transcript = Transcript.from_dict(case["transcript"])
    for output in case["outputs"]:
        text = transcript.render(output["format"], Layout(**output["layout"]))
        if "text" in output:
            assert text == output["text"], output["layout"]
        digest = hashlib.sha256(text.encode()).hexdigest()
        assert digest == output["sha256"], f"case {i_case}: {output['format']} with {output['layout']}"


def test_what_is_frozen_covers_every_layout_and_format() -> None:
    """A fixture that lost its cases would let any writer pass."""
    outputs = [output for case in CASES for output in case["outputs"]]
    assert {output["format"] for output in outputs} == set(FORMATS)
    assert len({json.dumps(output["layout"]) for output in outputs}) == 72
    assert sum("text" in output for output in outputs) >= 6
    with_words = [case for case in CASES if any(s.get("words") for s in case["transcript"]["segments"])]
    assert 20 <= len(with_words) < len(CASES)


@pytest.mark.parametrize("i_case", range(0, len(CASES), 5))
def test_a_transcript_survives_its_dictionary(i_case: int) -> None:
    given = CASES[i_case]["transcript"]
    assert json.dumps(Transcript.from_dict(given).to_dict()) == json.dumps(given)
