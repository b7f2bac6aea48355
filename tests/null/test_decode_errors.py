"""What audio/decode.py says of recordings that are broken, empty, or none at all: one line, one class."""

from __future__ import annotations

import io
import logging
import os
import wave
from pathlib import Path

import av
import numpy as np
import pytest

from sottovoce.audio import decode
from sottovoce.audio.source import _Bytes
from sottovoce.errors import AudioError


def wav(n: int = 16_000) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, 16_000, 0, "NONE", ""))
        out.writeframes(np.arange(n, dtype="<i2").tobytes())
    return file.getvalue()


def audio(container: str, codec: str, samples: np.ndarray, fmt: str, rate: int = 48_000, **options: str) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=container, options=options) as out:
        stream = out.add_stream(codec, rate=rate, layout="mono")
        frame = av.AudioFrame(format="flt", layout="mono", samples=samples.size)
        frame.planes[0].update(samples.astype(np.float32).tobytes())
        frame.sample_rate = rate
        size = stream.codec_context.frame_size or 1024
        resampler = av.AudioResampler(fmt, "mono", rate, frame_size=size)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            out.mux(stream.encode(piece))
        out.mux(stream.encode(None))
    return file.getvalue()


def silent_film() -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as out:
        stream = out.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for _ in range(3):
            out.mux(stream.encode(av.VideoFrame(32, 32, "yuv420p")))
        out.mux(stream.encode(None))
    return file.getvalue()


def complaint(source: object, **options: object) -> str:
    with pytest.raises(AudioError) as caught:
        decode.load(source, **options)  # type: ignore[arg-type]
    text = str(caught.value)
    assert "\n" not in text
    assert "Traceback" not in text
    assert "Errno" not in text
    return text


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "nowhere.mp3"
    assert complaint(path) == f"'{path}': there is no such file; check the path"
    assert "''" in complaint("")
    assert "could not be opened" in complaint("a\0b.wav")


def test_a_folder_is_no_recording(tmp_path: Path) -> None:
    assert "a folder was given" in complaint(tmp_path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_says_so(tmp_path: Path) -> None:
    path = tmp_path / "secret.wav"
    path.write_bytes(wav())
    path.chmod(0)
    assert "permissions" in complaint(path)


def test_empty_sources_are_called_empty(tmp_path: Path) -> None:
    path = tmp_path / "empty.wav"
    path.touch()
    for source in (path, b"", io.BytesIO(b"")):
        assert "it is empty (0 bytes)" in complaint(source)


@pytest.mark.parametrize(
    "data",
    [b"Dear diary, this is no sound at all.\n" * 50, b"\x00" * 5000, b"<html>not found</html>", bytes(range(256)) * 9],
)
def test_what_is_not_media_says_what_would_be(data: bytes) -> None:
    assert "media file such as wav" in complaint(data)


def test_a_film_without_sound_says_what_it_holds() -> None:
    assert "only video was found, no sound" in complaint(silent_film())


def test_a_header_without_samples_holds_no_sound() -> None:
    assert "0 samples" in complaint(wav(0))
    with pytest.raises(AudioError, match="0 samples"):
        list(decode.blocks(wav(0)))
    assert "after 2.0 s" in complaint(wav(16_000), start_s=2.0)


def test_tags_that_are_no_utf8_are_no_reason_to_refuse_a_recording() -> None:
    """A title in Latin-1, as many taggers wrote it, was a UnicodeDecodeError."""
    title = b"INAM" + (8).to_bytes(4, "little") + "Café au".encode("latin-1") + b"\0"
    info = b"LIST" + (4 + len(title)).to_bytes(4, "little") + b"INFO" + title
    sound = wav()
    whole = sound[:12] + info + sound[12:]
    whole = whole[:4] + (len(whole) - 8).to_bytes(4, "little") + whole[8:]
    assert decode.load(whole).size == 16_000
    assert decode.probe(whole)[0].channels == 1


def test_a_seek_to_before_the_beginning_is_an_answer_and_no_exception(capfd: pytest.CaptureFixture[str]) -> None:
    """Damaged headers make FFmpeg try it; PyAV wrote a traceback to stderr."""
    file = _Bytes(io.BytesIO(b"abc"))
    assert file.seek(-1) < 0
    assert file.seek(1) == 1
    assert file.read(9) == b"bc"


def test_a_stream_that_begins_later_is_passed_over() -> None:
    """Pictures that come after seconds of sound, which the header did not tell of, were an IndexError of PyAV."""
    sound = 0.1 * np.sin(np.arange(12 * 44_100) / 9)
    film = audio("flv", "mp3", sound, "s16p", 44_100)
    data = bytes([0x22, 0, 0, 0, 0]) + bytes(9)
    picture = b"\x09" + len(data).to_bytes(3, "big") + bytes(7) + data + (11 + len(data)).to_bytes(4, "big")
    whole = decode.load(film).size
    assert whole > 11 * 16_000
    assert decode.load(film + picture + film[13:]).size > 1.9 * whole


def test_infinite_and_missing_numbers_in_float_files_are_refused() -> None:
    for bad in (np.nan, np.inf):
        samples = np.zeros(48_000)
        samples[30_000] = bad
        assert "NaN or infinite" in complaint(audio("wav", "pcm_f32le", samples, "flt"))


def test_what_cannot_be_a_source_says_what_can() -> None:
    assert "'rb'" in complaint(io.StringIO("text"))
    assert "a path, an http(s) URL" in complaint(42)
    assert "a path, an http(s) URL" in complaint(None)


def test_a_reader_of_text_is_told_to_read_bytes() -> None:
    class Text:
        def read(self, n: int) -> str:
            return "text"

    assert "'rb'" in complaint(Text())


def test_a_source_that_fails_while_it_is_read_is_not_taken_for_its_end() -> None:
    """Half a recording, silently, is worse than none."""

    class Dying(io.BytesIO):
        def read(self, n: int | None = -1, /) -> bytes:
            if self.tell() > 500_000:
                raise OSError(5, "Input/output error")
            return super().read(n)

    assert "could not be read to its end (Input/output error)" in complaint(Dying(wav(1_000_000)))


@pytest.mark.parametrize("url", ["ftp://h/a.wav", "file:///etc/passwd", "rtsp://h/a", "s3://bucket/a.wav"])
def test_only_http_urls_are_opened(url: str) -> None:
    assert "http or https was expected" in complaint(url)


@pytest.mark.parametrize("path", ["concat:a.wav|b.wav", "pipe:0", "data:audio/wav;base64,AAAA", "subfile,,start,0,,:x"])
def test_ffmpegs_own_protocols_are_plain_file_names(path: str) -> None:
    assert "there is no such file" in complaint(path)


def test_a_playlist_opens_no_other_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recording from a stranger must not make us read our own files; FFmpeg alone would open the ffconcat's."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.wav").write_bytes(wav())
    for text in (
        f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://{tmp_path}/secret.wav\n#EXT-X-ENDLIST\n",
        f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{tmp_path}/secret.wav\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile secret.wav\n",
    ):
        path = tmp_path / "playlist.m3u8"
        path.write_text(text)
        complaint(path)
        complaint(text.encode())


def test_secrets_of_a_url_are_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    text = complaint("ftp://user:password@host.example/a.wav?token=abc")
    assert "host.example/a.wav" in text
    assert "password" not in text
    assert "token" not in text


# --- broken in the middle --------------------------------------------------------------------------------------------


def sound(seconds: int) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * 440 * np.arange(48_000 * seconds) / 48_000)


@pytest.mark.parametrize(
    ("container", "codec", "fmt", "options"),
    [
        ("mp3", "libmp3lame", "fltp", {}),
        ("mp4", "aac", "fltp", {"movflags": "empty_moov+frag_keyframe+default_base_moof", "frag_duration": "500000"}),
        ("ogg", "libopus", "flt", {}),
        ("flac", "flac", "s16", {}),
        ("wav", "pcm_s16le", "s16", {}),
        ("webm", "libopus", "flt", {}),
    ],
)
def test_of_a_truncated_recording_what_is_there_is_kept(
    container: str, codec: str, fmt: str, options: dict[str, str]
) -> None:
    data = audio(container, codec, sound(10), fmt, **options)
    got = decode.load(data[: len(data) * 6 // 10])
    assert 4 * 16_000 < got.size < 8 * 16_000
    assert np.allclose(got[1600:32_000], decode.load(data)[1600:32_000])


def test_broken_packets_are_left_out_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    data = bytearray(audio("mp4", "aac", sound(10), "fltp"))
    at = data.index(b"mdat")
    middle = at + (data.index(b"moov") - at) // 2
    data[middle : middle + 4000] = np.random.default_rng(0).bytes(4000)
    with caplog.at_level(logging.WARNING, "sottovoce"):
        got = decode.load(bytes(data))
    assert 5 * 16_000 < got.size < 10.5 * 16_000
    assert "packets are broken and were left out" in caplog.text
    assert caplog.text.count("\n") == 1


def test_a_recording_of_broken_packets_only_is_an_error() -> None:
    data = bytearray(audio("mp4", "aac", sound(3), "fltp"))
    at, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
    data[at:end] = b"\xff" * (end - at)
    assert "packets are broken" in complaint(bytes(data))


# --- samples as source -----------------------------------------------------------------------------------------------


def test_samples_of_two_channels_are_told_how_to_choose() -> None:
    text = complaint(np.zeros((2, 100), np.float32))
    assert "(2, 100)" in text
    assert "channel" in text


def test_samples_that_are_not_finite_are_shown_where() -> None:
    samples = np.zeros(100, np.float32)
    samples[40] = np.nan
    assert "nan at 40" in complaint(samples)
    samples[30] = -np.inf
    assert "-inf at 30" in complaint(samples)


def test_no_samples_and_samples_of_other_kinds_are_refused() -> None:
    assert "0 samples" in complaint(np.zeros(0, np.float32))
    for dtype in (np.uint8, np.int64, bool, complex, object):
        assert "floats in [-1, 1), int16 or int32 were expected" in complaint(np.zeros(5, dtype))
    assert "it has one" in complaint(np.zeros(5), channel=1)
    assert "it has one" in complaint(np.zeros(5), stream=1)
