"""Which language is spoken, and the vocabulary set to it: shared by the strategies. Knows no text, no seek."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from sottovoce.errors import OptionError
from sottovoce.flow.protocol import WAIT, Event, Got, Heard, Wait
from sottovoce.options import Options
from sottovoce.text.languages import language_code
from sottovoce.text.tokenizer import Tokenizer
from sottovoce.types import Answer, Ask, Detect, Detected, Sound, Strategy, Task, Window

SURE = 0.8  # probability of a language beyond which no further window is listened to
MOST_HEARD = 5  # windows
Asking = Generator[Window | Wait | Event, Got | None, Answer]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a flow must know of the model: its mel bins, its vocabulary, its longest text.

    lag_s: how much later words are spoken than its attention says; None: nobody has measured it. n_rows: decoded
    together, the most that one window may have; None: as many as it asks for.
    """

    n_mels: int
    n_vocab: int
    n_text_ctx: int = 448
    lag_s: float | None = None
    n_rows: int | None = None


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


@dataclass(frozen=True, slots=True, eq=False)
class Excerpt:
    """A sound whose language may be heard, with its name. weight_s: how much it says: its seconds of speech."""

    name: str
    sound: Sound
    weight_s: float


def listen(
    asker: Asker, options: Options, checkpoint: Checkpoint, excerpts: Iterable[Excerpt]
) -> Generator[Window | Wait | Event, Got | None, tuple[Heard, Tokenizer]]:
    """The language, given or heard, and the tokenizer that is set to it.

    excerpts: read only where the language is not given, no further than it takes.
    Raises OptionError if the checkpoint does not know a language, or the task.
    """
    n_vocab, given = checkpoint.n_vocab, language_code(options.language)
    plain = Tokenizer(n_vocab)
    among = candidates(options, plain)
    if not plain.multilingual:
        wrong = next((code for code in (given, *among) if code not in (None, "en")), None)
        if wrong is not None or options.task is Task.TRANSLATE:
            asked = f"task {options.task}" if wrong is None else f"language {wrong!r}"
            raise OptionError(f"{asked} was given, but this model knows English only; use a model without '.en'")
        return Heard("en", 1.0), plain
    for code in (given, *among):
        if code is not None and code not in plain.language_codes:
            raise OptionError(f"language: {code!r} was given, but this model was not trained on it; try large-v3")
    if given is None and len(among) == 1:
        given = among[0]
    heard = Heard(given, 1.0) if given is not None else (yield from _hear(asker, options, plain, excerpts))
    return heard, Tokenizer(n_vocab, heard.language, str(options.task))


def candidates(options: Options, tokenizer: Tokenizer) -> tuple[str, ...]:
    """Codes of the languages that may be spoken: those given, else all that the vocabulary has."""
    given = tuple(dict.fromkeys(code for tag in options.languages if (code := language_code(tag)) is not None))
    return given or (tokenizer.language_codes if tokenizer.multilingual else ("en",))


def _hear(
    asker: Asker, options: Options, tokenizer: Tokenizer, excerpts: Iterable[Excerpt]
) -> Generator[Window | Wait | Event, Got | None, Heard]:
    among = candidates(options, tokenizer)
    if options.language_detection_segments is None and options.chosen_strategy is Strategy.PARALLEL:
        return (yield from _weigh(asker, tokenizer, islice(excerpts, MOST_HEARD), among))
    n = options.language_detection_segments or 1
    return (yield from _vote(asker, tokenizer, islice(excerpts, n), among, options.language_detection_threshold))


def _weigh(
    asker: Asker, tokenizer: Tokenizer, excerpts: Iterable[Excerpt], among: Sequence[str]
) -> Generator[Window | Wait | Event, Got | None, Heard]:
    """Listen until one language is sure, by the mean of its probabilities over the seconds of speech heard."""
    heard: Heard | None = None
    total_s = 0.0
    for excerpt in excerpts:
        more = yield from detect(asker, tokenizer, excerpt.name, excerpt.sound, among)
        before_s, total_s = total_s, total_s + excerpt.weight_s
        if heard is None or not total_s:
            heard = heard or more
        else:
            probs = {c: (heard.probs[c] * before_s + p * excerpt.weight_s) / total_s for c, p in more.probs.items()}
            heard = _best(probs)
        if heard.probability > SURE:
            break
    assert heard is not None, "a recording has an excerpt"
    return heard


def _vote(
    asker: Asker, tokenizer: Tokenizer, excerpts: Iterable[Excerpt], among: Sequence[str], threshold: float
) -> Generator[Window | Wait | Event, Got | None, Heard]:
    """Listen until one language is probable enough, else take what most of them say: as the peers do."""
    votes: list[Heard] = []
    for excerpt in excerpts:
        votes.append((yield from detect(asker, tokenizer, excerpt.name, excerpt.sound, among)))
        if votes[-1].probability > threshold:
            return votes[-1]
    codes = [v.language for v in votes]
    return next(v for v in votes if v.language == max(codes, key=codes.count))


def detect(
    asker: Asker, tokenizer: Tokenizer, name: str, sound: Sound, among: Sequence[str] | None = None
) -> Generator[Window | Wait | Event, Got | None, Heard]:
    """The most probable language of one sound. among: codes of those that may be spoken, and share what is sure."""
    answer = yield from asker.ask(Detect(tokenizer.language_tokens), name, sound)
    assert isinstance(answer, Detected)
    probs = dict(zip(tokenizer.language_codes, answer.probs, strict=True))
    if among is not None and len(among) < len(probs):
        total = sum(probs[code] for code in among)
        probs = {code: probs[code] / total if total else 1 / len(among) for code in among}
    return _best(probs)


def _best(probs: Mapping[str, float]) -> Heard:
    code = max(probs, key=lambda c: probs[c])
    return Heard(code, probs[code], probs)
