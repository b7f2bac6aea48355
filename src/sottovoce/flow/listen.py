"""Which language is spoken, and the vocabulary set to it: shared by the strategies. Knows no text, no seek."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass, field

from sottovoce.errors import OptionError
from sottovoce.flow.protocol import WAIT, Event, Got, Heard, Wait
from sottovoce.options import Options
from sottovoce.text.languages import language_code
from sottovoce.text.tokenizer import Tokenizer
from sottovoce.types import Answer, Ask, Detect, Detected, Sound, Task, Window

Asking = Generator[Window | Wait | Event, Got | None, Answer]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a flow must know of the model: its mel bins, its vocabulary, its longest text.

    lag_s: how much later words are spoken than its attention says; None: nobody has measured it.
    """

    n_mels: int
    n_vocab: int
    n_text_ctx: int = 448
    lag_s: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Asker:
    """Puts a flow's questions. flow_id: the keys of its windows begin with it.

    Windows of a flow wait in a line. A sound that is asked about again passes it, by a turn of its own in the
    scheduler, while the slot is still warm; behind the line it would be encoded once more.
    """

    flow_id: str
    _known: set[str] = field(default_factory=set)

    def ask(self, ask: Ask, name: str, sound: Sound) -> Asking:
        """Ask about one sound, and wait. name: of the sound, among the flow's."""
        turn = f"{self.flow_id}:again" if name in self._known else self.flow_id
        self._known.add(name)
        yield Window(f"{self.flow_id}:{name}", sound, ask, turn)
        got = yield WAIT
        assert got is not None, "a driver answers WAIT with Got"
        return got.answer


def listen(
    asker: Asker, options: Options, checkpoint: Checkpoint, sounds: Iterable[tuple[str, Sound]]
) -> Generator[Window | Wait | Event, Got | None, tuple[Heard, Tokenizer]]:
    """The language, given or heard, and the tokenizer that is set to it.

    sounds: by name; read only where the language is not given, no further than language_detection_segments.
    Raises OptionError if the checkpoint does not know the language, or the task.
    """
    n_vocab, given = checkpoint.n_vocab, language_code(options.language)
    plain = Tokenizer(n_vocab)
    if not plain.multilingual:
        if given not in (None, "en") or options.task is Task.TRANSLATE:
            asked = f"task {options.task}" if given in (None, "en") else f"language {given!r}"
            raise OptionError(f"{asked} was given, but this model knows English only; use a model without '.en'")
        return Heard("en", 1.0), plain
    if given is not None and given not in plain.language_codes:
        raise OptionError(f"language: {given!r} was given, but this model was not trained on it; try large-v3")
    heard = Heard(given, 1.0) if given is not None else (yield from _detect(asker, options, plain, sounds))
    return heard, Tokenizer(n_vocab, heard.language, str(options.task))


def _detect(
    asker: Asker, options: Options, tokenizer: Tokenizer, sounds: Iterable[tuple[str, Sound]]
) -> Generator[Window | Wait | Event, Got | None, Heard]:
    """Listen to windows until one language is probable enough, else take what most of them say."""
    votes: list[Heard] = []
    for (name, sound), _ in zip(sounds, range(options.language_detection_segments), strict=False):
        votes.append((yield from detect(asker, tokenizer, name, sound)))
        if votes[-1].probability > options.language_detection_threshold:
            return votes[-1]
    codes = [v.language for v in votes]
    return next(v for v in votes if v.language == max(codes, key=codes.count))


def detect(
    asker: Asker, tokenizer: Tokenizer, name: str, sound: Sound
) -> Generator[Window | Wait | Event, Got | None, Heard]:
    """The most probable language of one sound."""
    answer = yield from asker.ask(Detect(tokenizer.language_tokens), name, sound)
    assert isinstance(answer, Detected)
    probs = dict(zip(tokenizer.language_codes, answer.probs, strict=True))
    code = max(probs, key=lambda c: probs[c])
    return Heard(code, probs[code], probs)
