"""Draws the pictures of docs/subtitles.md: sentences of our own, with times made up, set by our rules, drawn by libass.

    apt install ffmpeg fonts-noto-core fonts-noto-cjk
    python scripts/draw_subtitles.py

A transcript given as json is drawn instead, one picture for each subtitle, to be looked at:

    python scripts/draw_subtitles.py talk.json FOLDER [--preset broadcast]
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sottovoce.text.captions import RIGHT_TO_LEFT
from sottovoce.text.formats import Transcript
from sottovoce.text.layout import Layout
from sottovoce.text.subtitles import Subtitle, subtitles
from sottovoce.types import Segment, Word

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "pictures"
GROUND = "0x243447"
PICTURE_PX = 640  # wide

BROADCAST = Layout(preset="broadcast")


@dataclass(frozen=True)
class Scene:
    """A picture: what is said, in segments of a speaker each, and how it is set. rate: characters a second."""

    name: str
    language: str
    said: tuple[tuple[str | None, str], ...]
    layout: Layout
    rate: float
    n_shown: int = 3


def alone(*sentences: str) -> tuple[tuple[str | None, str], ...]:
    return tuple((None, sentence) for sentence in sentences)


SCENES = (
    Scene(
        "english", "en",
        alone(
            " When the ferry finally left the harbour at 5 p. m., nobody on board knew that Anna Maria Schmidt had "
            "already walked 20 km through the rain.",
            " Wait. She paid 3,000 euros for a map of the lighthouse and kept it in a tin.",
        ),
        BROADCAST, 15,
    ),
    Scene(
        "german", "de",
        alone(
            " Am 3. Mai fuhr Frau von der Heide mit dem Rad nach Bad Homburg, weil dort ein Geigenbauer wohnt, der "
            "seine Werkstatt nur im Frühling öffnet.",
            " Die Donaudampfschifffahrtsgesellschaft verkauft seit 1 000 Tagen keine Fahrkarten mehr.",
        ),
        BROADCAST, 15,
    ),
    Scene(
        "chinese", "zh",
        alone(
            "去年秋天，我和妹妹坐了三个小时的火车，去看住在海边的外婆。",
            "她给我们做了二十五个饺子，还说：“明年再来吧，路上小心。”",
        ),
        BROADCAST, 5,
    ),
    Scene(
        "japanese", "ja",
        alone(
            "駅前の古い喫茶店では、毎朝七時になると店長がレコードをかけます。",
            "「今日も雨ですね」と言いながら、スティーブンさんは三百五十円のコーヒーを飲みました。",
        ),
        BROADCAST, 5.5,
    ),
    Scene(
        "arabic", "ar",
        alone(
            " خرجت ليلى من البيت في السابعة صباحا، ومشت نحو 20 كم على طول النهر لأن الجو كان جميلا.",
            " قالت لأخيها: هل رأيت القارب الأزرق؟ ثم ضحكت وعادت إلى القرية.",
        ),
        BROADCAST, 13,
    ),
    Scene(
        "dialogue", "en",
        (
            ("Mira", " Did you water the lemon tree?"),
            ("Jonas", " Twice."),
            ("Mira", " Then why is it standing in the bathtub with an umbrella over it?"),
        ),
        replace(BROADCAST, speakers="dash"), 17, 2,
    ),
    Scene(
        "karaoke", "en",
        alone(" Every word has its colour as soon as it is spoken, and waits in grey until then."),
        replace(BROADCAST, word_cues=True), 15, 2,
    ),
    Scene(
        "short", "en",
        alone(" On a phone that is held upright, lines are short and change quickly."),
        Layout(preset="short", highlight_words=True), 15, 3,
    ),
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("transcript", nargs="?", type=Path)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("."))
    parser.add_argument("--preset", default="broadcast")
    given = parser.parse_args()
    if given.transcript:
        transcript = Transcript.from_dict(json.loads(given.transcript.read_text("utf-8")))
        every = shown(transcript, Layout(preset=given.preset))
        for i in range(0, len(every), 6):
            path = given.folder / f"{given.transcript.stem}-{i // 6}.png"
            draw(transcript, Layout(preset=given.preset), [middle(sub) for sub in every[i : i + 6]], path)
        return
    FOLDER.mkdir(exist_ok=True)
    for scene in SCENES:
        transcript = spoken(scene)
        every = shown(transcript, scene.layout)[: scene.n_shown]
        draw(transcript, scene.layout, [middle(sub) for sub in every], FOLDER / f"subtitles-{scene.name}.png")


def spoken(scene: Scene) -> Transcript:
    """Words that take as long as their letters."""
    segments, at = [], 0.5
    solid = scene.language in ("zh", "ja")
    for i, (speaker, text) in enumerate(scene.said):
        words = []
        for word in re.findall(r"[^\W\d_]|\d+|[^\w\s]" if solid else r"\s*\S+", text):
            length = 0.0 if solid and not word.isalnum() else len(word) / scene.rate
            words.append(Word(word, round(at, 3), round(at + length, 3), 1.0))
            at += length
        segments.append(
            Segment(i, 0, words[0].start, words[-1].end, text, (), 0, 0, 1, 0, tuple(words), speaker)
        )  # fmt: skip
        at += 0.15
    return Transcript("".join(text for _, text in scene.said), tuple(segments), scene.language, at)


def shown(transcript: Transcript, layout: Layout) -> list[Subtitle]:
    return subtitles(
        transcript.segments, transcript.language, layout.rules(transcript.language), layout.speakers or "name"
    )


def middle(sub: Subtitle) -> float:
    return (sub.start + sub.end) / 2


def draw(transcript: Transcript, layout: Layout, times: Sequence[float], path: Path) -> None:
    """The picture at several times, the lower part of each, below each other; phones beside each other."""
    upright = layout.preset == "short"
    size, crop = ("1080x1920", "1080:760:0:1000") if upright else ("1920x1080", "1920:290:0:780")
    scaled = PICTURE_PX // len(times) if upright else PICTURE_PX
    fonts = {"ar": "Noto Naskh Arabic", "he": "Noto Sans Hebrew"}
    text = transcript.render("ass", layout).replace(",Arial,", f",{fonts.get(transcript.language, 'Noto Sans')},")
    assert transcript.language not in RIGHT_TO_LEFT or ",-1\n" in text
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "subtitles.ass"
        script.write_text(text, "utf-8")
        inputs, filters = [], []
        for i, time in enumerate(times):
            inputs += ["-f", "lavfi", "-i", f"color=c={GROUND}:s={size}:d=0.04"]
            filters.append(f"[{i}]setpts=PTS+{time:.3f}/TB,ass={script},crop={crop},scale={scaled}:-2[p{i}]")
        stack = "" if len(times) == 1 else f"{'h' if upright else 'v'}stack=inputs={len(times)},"
        joined = "".join(f"[p{i}]" for i in range(len(times)))
        palette = "split[a][b];[a]palettegen=max_colors=32[p];[b][p]paletteuse=dither=none"
        graph = ";".join([*filters, f"{joined}{stack}setpts=0,{palette}"])
        command = ["ffmpeg", "-v", "error", "-y", *inputs, "-filter_complex", graph, "-frames:v", "1", str(path)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
    print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
