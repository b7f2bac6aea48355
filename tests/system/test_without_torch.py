"""Where compiled kernels compute, torch stays out: its import costs a second and 200 MB, more than a clip's text."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sottovoce.engine import device, kernels

QUESTIONS = """
import sys
from importlib.resources import as_file, files
from sottovoce import Whisper
with Whisper("tiny") as whisper, as_file(files("sottovoce.audio") / "assets" / "known.ogg") as clip:
    assert whisper.compute in ("bfloat16", "int8"), whisper.compute
    for options in (
        {}, {"word_timestamps": True}, {"beam_size": 3, "task": "translate"}, {"temperature": (0.7,), "best_of": 2},
        {"language": "en", "repetition_penalty": 1.2, "no_repeat_ngram_size": 3}, {"strategy": "sequential"},
    ):
        text = whisper.transcribe(clip, **options).text
        assert text.strip(), options
print("torch" in sys.modules)
"""


@pytest.mark.skipif(kernels.library() is None, reason="no kernels for this CPU: torch computes")
@pytest.mark.skipif(device.may_have_gpu(), reason="a driver of a GPU is here: torch is asked for it")
def test_no_question_needs_torch() -> None:
    ran = subprocess.run([sys.executable, "-c", QUESTIONS], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert ran.stdout.split()[-1] == "False"
