"""The routes beside OpenAI's, and the document of all: a real server, real weights, httpx."""

from __future__ import annotations

import io
import json
import wave
from collections.abc import Iterator
from importlib.resources import files
from itertools import pairwise
from typing import Any

import httpx
import pytest

from sottovoce.audio import decode
from sottovoce.config import Config
from sottovoce.text import known

from .running import running

CLIP = (files("sottovoce.audio") / "assets" / "known.ogg").read_bytes()
pytestmark = pytest.mark.weights


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with (
        running(Config(model="tiny.en", threads=2)) as address,
        httpx.Client(base_url=address, timeout=60, trust_env=False) as client,
    ):
        yield client


def sent(client: httpx.Client, path: str, field: str = "file", clip: bytes = CLIP, **fields: Any) -> httpx.Response:
    return client.post(path, files={field: ("clip.ogg", clip)}, data=fields)


def refused(answer: httpx.Response, status: int, param: str | None) -> str:
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (status, param), answer.text
    assert set(error) == {"message", "type", "param", "code"}
    message: str = error["message"]
    return message


# --- /transcribe ------------------------------------------------------------------------------------------------------


def test_a_file_becomes_text(client: httpx.Client) -> None:
    body = sent(client, "/transcribe").json()
    assert list(body) == ["text"]
    assert known.is_right(body["text"][0])


def test_a_body_that_is_the_recording_becomes_text(client: httpx.Client) -> None:
    for kind in ("audio/ogg", "application/octet-stream"):
        answer = client.post("/transcribe", content=CLIP, headers={"content-type": kind})
        assert known.is_right(answer.json()["text"][0])


def test_several_files_have_as_many_texts_in_their_order(client: httpx.Client) -> None:
    short = decode_wave(CLIP, 1.2)
    answer = client.post("/transcribe", files=[("a", ("a", CLIP)), ("b", ("b", short)), ("a", ("c", CLIP))])
    texts = answer.json()["text"]
    assert len(texts) == 3
    assert texts[0] == texts[2] != texts[1]


@pytest.mark.parametrize(
    ("format", "kind", "begin"),
    [
        ("srt", "application/x-subrip", "1\n00:00:0"),
        ("vtt", "text/vtt", "WEBVTT"),
        ("tsv", "text/tab-separated-values", "start\tend\ttext"),
        ("json", "application/json", '{"text"'),
        ("txt", "text/plain", ""),
    ],
)
def test_a_transcript_comes_in_the_format_that_was_wished_for(
    client: httpx.Client, format: str, kind: str, begin: str
) -> None:
    answer = client.post(f"/transcribe?format={format}", files={"file": CLIP})
    assert answer.headers["content-type"].partition(";")[0] == kind
    assert answer.text.startswith(begin)


def test_several_files_in_a_format_are_a_list_of_it(client: httpx.Client) -> None:
    answer = client.post("/transcribe", files=[("a", CLIP), ("b", CLIP)], data={"format": "srt"})
    assert len(answer.json()["srt"]) == 2


def test_an_option_reaches_the_decoder(client: httpx.Client) -> None:
    answer = sent(client, "/transcribe", format="json", word_timestamps="true")
    assert answer.json()["segments"][0]["words"][0]["probability"] > 0


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"beam_size": "0"}, "beam_size"),
        ({"beam_size": "2.5"}, "beam_size"),
        ({"beam_size": "1_0"}, "beam_size"),
        ({"temperature": "nan"}, "temperature"),
        ({"temperature": ["0", "3"]}, "temperature"),
        ({"word_timestamps": "perhaps"}, "word_timestamps"),
        ({"format": "docx"}, "format"),
        ({"language": "klingon"}, "language"),
        ({"language": ["en", "de"]}, "language"),
        ({"beam": "5"}, "beam"),
        ({"speakers": "2"}, "speakers"),
        ({"replacements": "/etc/passwd"}, "replacements"),
        ({"known_speakers": "/etc/passwd"}, "known_speakers"),
    ],
)
def test_a_field_that_cannot_be_honoured_is_named(client: httpx.Client, fields: Any, param: str) -> None:
    assert refused(sent(client, "/transcribe", **fields), 400, param)


def test_what_is_no_recording_is_refused_without_a_path_of_ours(client: httpx.Client) -> None:
    message = refused(sent(client, "/transcribe", clip=b"no sound at all"), 400, None)
    assert "'clip.ogg'" in message
    assert "/tmp" not in message and "sottovoce" not in message
    assert refused(client.post("/transcribe", content=b"", headers={"content-type": "audio/wav"}), 400, "file")
    assert refused(client.post("/transcribe", data={"format": "srt"}), 400, "file")
    assert refused(client.post("/transcribe", json={"file": "x"}), 415, None)


# --- the language, speech, alignment ----------------------------------------------------------------------------------


def test_a_language_is_told_in_both_shapes(client: httpx.Client) -> None:
    for field in ("file", "audio_file"):
        said = sent(client, "/detect-language", field).json()
        assert (said["language"], said["name"]) == ("en", "english")
        assert (said["language_code"], said["detected_language"]) == ("en", "english")
        assert said["confidence"] == said["probability"] == said["probabilities"]["en"]


def test_speech_is_found_where_it_is(client: httpx.Client) -> None:
    said = sent(client, "/v1/audio/vad", min_silence_duration_ms="200", speech_pad_ms="30").json()
    assert said["duration"] == pytest.approx(len(decode.load(CLIP)) / 16_000)
    assert 0 < said["speech"] <= said["duration"]
    assert said["speech"] == pytest.approx(sum(s["end"] - s["start"] for s in said["spans"]))
    silence = wave_of(decode.load(CLIP) * 0)
    assert sent(client, "/v1/audio/vad", clip=silence).json()["spans"] == []
    assert refused(sent(client, "/v1/audio/vad", threshold="1.5"), 400, "threshold")


def test_given_words_get_their_times(client: httpx.Client) -> None:
    heard = sent(client, "/transcribe").json()["text"][0]
    words = [w for s in sent(client, "/v1/audio/align", text=heard).json()["segments"] for w in s["words"]]
    assert len(words) == len(heard.split())
    assert all(a["end"] <= b["start"] + 1e-6 for a, b in pairwise(words))
    assert sent(client, "/v1/audio/align", text=heard, format="srt").text.startswith("1\n00:00:0")
    assert refused(sent(client, "/v1/audio/align"), 400, "text")


# --- whisper.cpp ------------------------------------------------------------------------------------------------------


def test_whisper_cpps_clients_are_answered_in_its_shapes(client: httpx.Client) -> None:
    text = sent(client, "/inference", temperature="0.0", temperature_inc="0.2").json()["text"]
    assert text.startswith(" ") and text.endswith("\n")
    assert sent(client, "/inference", response_format="text").text == text
    assert sent(client, "/inference", response_format="text").headers["content-type"].startswith("text/html")
    srt = sent(client, "/inference", response_format="srt", offset_n="4")
    assert srt.headers["content-type"] == "application/x-subrip"
    assert srt.text.startswith("5\n00:00:0")
    assert sent(client, "/inference", response_format="vtt").text.startswith("WEBVTT\n\n00:00:0")


def test_whisper_cpps_verbose_json_has_words_and_languages(client: httpx.Client) -> None:
    body = sent(client, "/inference", response_format="verbose_json", max_len="20").json()
    assert body["task"] == "transcribe" and body["language"] == body["detected_language"] == "english"
    assert max(len(s["text"].strip()) for s in body["segments"]) <= 20
    assert [w for s in body["segments"] for w in s["words"]]
    untimed = sent(client, "/inference", response_format="verbose_json", no_timestamps="true").json()
    assert "start" not in untimed["segments"][0]


def test_whisper_cpp_hears_a_part(client: httpx.Client) -> None:
    whole = sent(client, "/inference").json()["text"]
    part = sent(client, "/inference", offset_t="0", duration="1500").json()["text"]
    assert 0 < len(part) < len(whole)


def test_whisper_cpps_refusals(client: httpx.Client) -> None:
    assert refused(client.post("/inference", files={"sound": CLIP}), 400, "file")
    assert refused(sent(client, "/inference", response_format="docx"), 400, "response_format")
    assert refused(client.post("/load", files={"model": (None, "/etc/passwd")}), 403, "model")


# --- whisper-asr-webservice -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("output", ["txt", "vtt", "srt", "tsv", "json"])
def test_the_webservices_clients_are_answered_as_by_it(client: httpx.Client, output: str) -> None:
    answer = client.post(f"/asr?encode=true&task=transcribe&output={output}", files={"audio_file": ("ä b.ogg", CLIP)})
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["asr-engine"]
    assert answer.headers["content-disposition"] == f'attachment; filename="%C3%A4%20b.ogg.{output}"'
    text = json.loads(answer.text)["text"] if output == "json" else answer.text
    assert len(text) > 10


def test_the_webservice_takes_raw_samples(client: httpx.Client) -> None:
    raw = (decode.load(CLIP) * 32767).astype("<i2").tobytes()
    answer = client.post("/asr?encode=false", files={"audio_file": ("x", raw)})
    assert known.is_right(answer.text)
    assert client.post("/asr?encode=true", files={"audio_file": ("x", raw)}).status_code == 400


def test_the_webservices_refusals(client: httpx.Client) -> None:
    assert refused(client.post("/asr", files={"file": CLIP}), 422, "audio_file")
    assert refused(client.post("/asr?output=docx", files={"audio_file": CLIP}), 400, "output")


# --- the document -----------------------------------------------------------------------------------------------------


def test_the_document_names_every_route_and_how_it_fails(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    for path in ("/transcribe", "/detect-language", "/v1/audio/vad", "/v1/audio/align", "/inference", "/asr", "/load"):
        operation = document["paths"][path]["post"]
        assert operation["responses"]["default"]["content"]["application/json"]["schema"] == {
            "$ref": "#/components/schemas/Failure"
        }
    assert "HTTPValidationError" not in json.dumps(document)
    form = document["paths"]["/transcribe"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert {"file", "language", "beam_size"} <= set(form["properties"])


def test_what_the_document_offers_is_taken(client: httpx.Client) -> None:
    """Each default that the document names is one that the route accepts."""
    document = client.get("/openapi.json").json()
    for path, field in (("/inference", "file"), ("/asr", "audio_file"), ("/v1/audio/vad", "file")):
        operation = document["paths"][path]["post"]
        form = operation["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
        said = {name: str(s["default"]).lower() for name, s in form.items() if "default" in s}
        query = {
            p["name"]: str(p["schema"]["default"]).lower() for p in operation["parameters"] if "default" in p["schema"]
        }
        answer = client.post(path, params=query, files={field: CLIP}, data=said if path != "/v1/audio/vad" else {})
        assert answer.status_code == 200, answer.text


def decode_wave(clip: bytes, seconds: float) -> bytes:
    return wave_of(decode.load(clip)[: round(seconds * 16_000)])


def wave_of(samples: Any) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as w:
        w.setnchannels(1)
        w.setsampwidth(2)
        w.setframerate(16_000)
        w.writeframes((samples * 32767).astype("<i2").tobytes())
    return out.getvalue()


def test_a_wrong_method_is_told_the_right_ones(client: httpx.Client) -> None:
    """The router names those of its first route only: DELETE of a model was missing."""
    answer = client.request("OPTIONS", "/v1/models/tiny.en")
    assert refused(answer, 405, None)
    assert answer.headers["allow"] == "DELETE, GET"
    assert client.get("/transcribe").headers["allow"] == "POST"


def test_what_stands_in_an_address_is_short(client: httpx.Client) -> None:
    """The document says so, for an address of 64 kB is refused by the parser, in words that are not ours."""
    for params in ({"initial_prompt": "x" * 501}, {"keywords": ["x"] * 9}, {"keywords": "x" * 101}):
        answer = client.post("/transcribe", params=params, files={"file": CLIP})
        assert refused(answer, 400, next(iter(params)))
    assert sent(client, "/transcribe", initial_prompt="x" * 501).status_code == 200
