"""What OpenAI's Python client must find, whatever its major line; run with the Python that has it, told as JSON.

    python checks.py BASE_URL SOUND sync|async KEY [request_id]

Knows nothing of the server but its address. SOUND: a clip of TEXT. Each check is a promise; numbers are those of the
contract's list of what to test.
"""

from __future__ import annotations

import asyncio
import base64
import inspect
import json
import sys
import traceback
from pathlib import Path
from typing import Any

import openai

TEXT = ("old", "house", "listens", "sea", "whispers")
LARGE = 26_214_401  # bytes: one more than OpenAI takes
SOUND = Path(sys.argv[2])
KEY = sys.argv[4]
EXPECTS = sys.argv[5:]
# Of the asynchronous clients, which spell forms as the others do: what takes another way there
ASYNC = ("01", "04", "04b", "10", "12", "13", "14", "22")
LOOP = asyncio.new_event_loop()


class Waited:
    """An asynchronous client that waits for each answer, so that one text of checks is for both."""

    def __init__(self, of: Any) -> None:
        self._of = of

    def __getattr__(self, name: str) -> Any:
        return Waited(getattr(self._of, name))

    def __call__(self, *args: Any, **given: Any) -> Any:
        found = self._of(*args, **given)
        if isinstance(found, openai.AsyncOpenAI):
            return Waited(found)
        if inspect.isawaitable(found):
            found = LOOP.run_until_complete(_awaited(found))
        return LOOP.run_until_complete(_all(found)) if hasattr(found, "__aiter__") else found


async def _awaited(found: Any) -> Any:
    return await found


async def _all(found: Any) -> list[Any]:
    return [one async for one in found]


def create(client: Any, **given: Any) -> Any:
    return client.audio.transcriptions.create(**{"model": "whisper-1", "file": SOUND, **given})


def refused(kind: type[openai.APIStatusError], call: Any, **given: Any) -> Any:
    """The error that a call must raise; every field of it is set as the contract says."""
    try:
        call(**given)
    except kind as e:
        assert isinstance(e.body, dict) and set(e.body) == {"message", "type", "param", "code"}, e.body
        assert e.type and e.message, (e.type, e.message)
        if "request_id" in EXPECTS:
            assert e.request_id, "x-request-id"
        return e
    raise AssertionError(f"{kind.__name__} was expected")


def heard(text: str) -> None:
    found = text.lower()
    missing = [word for word in TEXT if word not in found]
    assert len(missing) <= 1, f"{missing} not in {text!r}"


def check_01_json(client: Any) -> None:
    found = create(client)
    heard(found.text)
    assert type(found).__name__ == "Transcription"
    assert found.text == found.text.strip()
    with SOUND.open("rb") as file:
        assert create(client, file=file).text == found.text


def check_02_six_formats(client: Any) -> None:
    text = create(client, response_format="text")
    assert isinstance(text, str) and text.endswith("\n") and text.count("\n") == 1
    heard(text)
    srt = create(client, response_format="srt")
    assert isinstance(srt, str) and srt.startswith("1\n00:00:0") and " --> " in srt
    vtt = create(client, response_format="vtt")
    assert isinstance(vtt, str) and vtt.startswith("WEBVTT\n\n")
    heard(create(client, response_format="json").text)
    verbose = create(client, response_format="verbose_json")
    assert type(verbose).__name__ == "TranscriptionVerbose"
    assert (verbose.language, verbose.words) == ("english", None)
    assert isinstance(verbose.duration, float | str) and 3 < float(verbose.duration) < 5
    heard(verbose.text)
    wire = verbose.model_dump()
    assert isinstance(wire["duration"], float) or openai.VERSION.startswith("1."), wire["duration"]
    segment = verbose.segments[0]
    kinds = {"id": int, "seek": int, "start": float, "end": float, "text": str, "tokens": list, "temperature": float}
    kinds |= {"avg_logprob": float, "compression_ratio": float, "no_speech_prob": float}
    for name, kind in kinds.items():
        assert isinstance(getattr(segment, name), kind), name
    assert 0 <= segment.start < segment.end <= float(verbose.duration) + 0.1
    diarized = create(client, model="gpt-4o-transcribe-diarize", response_format="diarized_json")
    one = (diarized if isinstance(diarized, dict) else diarized.model_dump())["segments"][0]
    assert (one["type"], one["speaker"]) == ("transcript.text.segment", "A")
    assert isinstance(one["id"], str)


def check_03_granularities(client: Any) -> None:
    for asked in ([], ["segment"], ["word"], ["word", "segment"]):
        more = {"timestamp_granularities": asked} if asked else {}
        found = create(client, response_format="verbose_json", **more)
        assert (found.words is not None) == ("word" in asked), asked
        assert (found.segments is not None) == ("segment" in asked or not asked), asked
        for word in found.words or []:
            assert word.word == word.word.strip() and 0 <= word.start <= word.end
        assert not found.words or len(found.words) >= 10
    error = refused(
        openai.BadRequestError, create, client=client, response_format="json", timestamp_granularities=["word"]
    )
    assert error.param == "timestamp_granularities"


def check_04_stream(client: Any) -> None:
    for model, format in (("whisper-1", "json"), ("gpt-4o-mini-transcribe", "text")):
        events = list(create(client, model=model, stream=True, response_format=format))
        deltas = [e.delta for e in events if e.type == "transcript.text.delta"]
        done = [e for e in events if e.type == "transcript.text.done"]
        assert len(done) == 1 and events[-1] is done[0], events
        assert deltas and done[0].text == "".join(deltas)
        heard(done[0].text)
        if getattr(done[0], "usage", None) is not None:
            assert done[0].usage.type == "tokens"
            assert done[0].usage.total_tokens == done[0].usage.input_tokens + done[0].usage.output_tokens


def check_04b_an_error_before_a_stream_has_its_status(client: Any) -> None:
    refused(openai.BadRequestError, create, client=client, stream=True, file=("a.wav", b"no sound at all"))


def check_05_logprobs(client: Any) -> None:
    found = create(client, model="gpt-4o-transcribe", include=["logprobs"])
    assert found.logprobs and all(p.logprob <= 0 for p in found.logprobs)
    said = b"".join(bytes(int(b) for b in p.bytes) for p in found.logprobs).decode()
    assert said.strip() == found.text
    assert "".join(p.token for p in found.logprobs) == said
    events = list(create(client, model="gpt-4o-transcribe", include=["logprobs"], stream=True))
    assert events[0].logprobs and len(events[-1].logprobs) == len(found.logprobs)
    refused(openai.BadRequestError, create, client=client, include=["logprobs"], response_format="verbose_json")


def check_06_chunking(client: Any) -> None:
    heard(create(client, model="gpt-4o-transcribe", chunking_strategy="auto").text)
    detector = {"type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 200}
    heard(create(client, model="gpt-4o-transcribe", chunking_strategy=detector).text)
    refused(openai.BadRequestError, create, client=client, chunking_strategy={"type": "server_vad", "threshold": 2.0})


def check_07_keywords_and_languages(client: Any) -> None:
    given = {"keywords": ["Sottovoce", "sea"], "languages": ["en", "de"]}
    given = given if _takes("keywords") else {"extra_body": given}
    found = create(client, model="gpt-transcribe", **given)
    heard(found.text)
    assert [one["code"] for one in found.model_dump()["languages"]] == ["en"]


def check_08_known_speakers(client: Any) -> None:
    url = "data:audio/ogg;base64," + base64.b64encode(SOUND.read_bytes()).decode()
    given: dict[str, Any] = {"known_speaker_names": ["Ada"], "known_speaker_references": [url]}
    given |= {"chunking_strategy": "auto"}
    if not _takes("known_speaker_names"):
        given = {"extra_body": given}
    format = {"model": "gpt-4o-transcribe-diarize", "response_format": "diarized_json"}
    found = create(client, **format, **given)
    wire = found if isinstance(found, dict) else found.model_dump()
    assert {s["speaker"] for s in wire["segments"]} == {"Ada"}
    events = list(create(client, stream=True, **format, **given))
    told = [e for e in events if e.type == "transcript.text.segment"]
    assert [e.speaker for e in told] == ["Ada"] * len(wire["segments"])
    if given.get("known_speaker_names"):
        given["known_speaker_references"] = ["https://example.com/a.wav"]
        refused(openai.BadRequestError, create, client=client, **format, **given)


def check_09_bytes_without_a_name(client: Any) -> None:
    heard(create(client, file=SOUND.read_bytes()).text)
    heard(create(client, file=("blob", SOUND.read_bytes(), "application/octet-stream")).text)


def check_10_wrong_key(client: Any) -> None:
    stranger = client.with_options(api_key="sk-of-somebody-else-who-has-none")
    error = refused(openai.AuthenticationError, create, client=stranger)
    assert (error.status_code, error.code) == (401, "invalid_api_key")


def check_11_unknown_model(client: Any) -> None:
    error = refused(openai.NotFoundError, create, client=client, model="no-such-model")
    assert (error.code, error.param) == ("model_not_found", "model")
    refused(openai.NotFoundError, create, client=client, model="/etc/passwd")
    refused(openai.NotFoundError, create, client=client, model="nobody/nothing")


def check_12_no_sound(client: Any) -> None:
    for sound in (b"", b"this is no sound", SOUND.read_bytes()[:60]):
        error = refused(openai.BadRequestError, create, client=client, file=("a.wav", sound))
        assert error.param == "file", error.message
        assert "/tmp" not in error.message


def check_13_too_large(client: Any) -> None:
    error = refused(openai.APIStatusError, create, client=client, file=("a.wav", bytes(LARGE)))
    assert error.status_code == 413
    assert error.response.request.headers["x-stainless-retry-count"] == "0", "it is not tried again"


def check_16_options_of_ours(client: Any) -> None:
    heard(create(client, extra_body={"beam_size": 2, "strategy": "sequential", "vad": False}).text)
    assert create(client, temperature=0.0, language="en", prompt="A story.", extra_body={"end_s": 1.5}).text
    error = refused(openai.BadRequestError, create, client=client, extra_body={"beam_sise": 2})
    assert error.param == "beam_sise" and "beam_size" in error.message
    error = refused(openai.BadRequestError, create, client=client, extra_body={"beam_size": "many"})
    assert error.param == "beam_size"
    error = refused(openai.BadRequestError, create, client=client, language="klingon")
    assert error.param == "language"
    error = refused(openai.BadRequestError, create, client=client, response_format="docx")
    assert error.param == "response_format"
    for format, begins in (("tsv", "start\tend\ttext"), ("ass", "[Script Info]"), ("lrc", "[00:0")):
        assert str(create(client, response_format=format)).startswith(begins)


def check_17_translations(client: Any) -> None:
    translate = client.audio.translations.create
    assert translate(model="whisper-1", file=SOUND).text
    verbose = translate(model="whisper-1", file=SOUND, response_format="verbose_json", temperature=0.0)
    assert verbose.language == "english" and verbose.segments
    assert isinstance(translate(model="whisper-1", file=SOUND, response_format="srt"), str)
    refused(openai.BadRequestError, translate, model="tiny.en", file=SOUND)


def check_18_usage(client: Any) -> None:
    usage = create(client).model_dump().get("usage")
    assert usage and usage["type"] == "duration" and 3 < usage["seconds"] < 5
    usage = create(client, model="gpt-4o-transcribe").model_dump()["usage"]
    assert usage["type"] == "tokens" and usage["output_tokens"] > 5


def check_22_models(client: Any) -> None:
    found = client.models.list()
    found = found if isinstance(found, list) else found.data
    assert {"whisper-1", "gpt-4o-transcribe", "tiny"} <= {m.id for m in found}
    assert all(m.object == "model" and isinstance(m.created, int) and m.owned_by for m in found)
    assert client.models.retrieve("whisper-1").id == "whisper-1"
    refused(openai.NotFoundError, client.models.retrieve, model="org/no-such-model")
    refused(openai.NotFoundError, client.models.delete, model="org/no-such-model")


def check_14_streamed_and_raw_responses(client: Any) -> None:
    raw = client.audio.transcriptions.with_raw_response.create(model="whisper-1", file=SOUND)
    heard(raw.parse().text)
    if "request_id" in EXPECTS:
        assert raw.headers["x-request-id"] and int(raw.headers["openai-processing-ms"]) >= 0
    if isinstance(client, Waited):
        LOOP.run_until_complete(_streamed(client._of))
        return
    with client.audio.transcriptions.with_streaming_response.create(model="whisper-1", file=SOUND) as answer:
        heard(answer.parse().text)


async def _streamed(client: Any) -> None:
    streamed = client.audio.transcriptions.with_streaming_response
    async with streamed.create(model="whisper-1", file=SOUND, response_format="srt") as answer:
        text = "".join([line async for line in answer.iter_text()])
    heard(text)


def _takes(name: str) -> bool:
    """Has this line of the client an argument of this name?"""
    return name in inspect.signature(openai.OpenAI(api_key="none").audio.transcriptions.create).parameters


def main() -> None:
    given: dict[str, Any] = {"base_url": f"{sys.argv[1]}/v1", "api_key": KEY, "timeout": 60.0}
    client = openai.OpenAI(**given) if sys.argv[3] == "sync" else Waited(openai.AsyncOpenAI(**given))
    told = {"client": openai.VERSION}
    for name, check in sorted(globals().items()):
        if name.startswith("check_") and (sys.argv[3] == "sync" or name.split("_")[1] in ASYNC):
            try:
                check(client)
                told[name] = "ok"
            except Exception:
                told[name] = traceback.format_exc(limit=-4)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
