"""The tokenizer: frozen facts of the three vocabularies, and what holds for every text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sottovoce.errors import ModelError, OptionError
from sottovoce.text.tokenizer import REPLACEMENT, VOCABULARIES, Tokenizer, suppressed

SIZES = sorted(VOCABULARIES)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=60)

# (eot, sot, translate, transcribe, sot_lm, sot_prev, no_speech, no_timestamps, timestamp_begin)
FACTS = {
    51864: (50256, 50257, 50357, 50358, 50359, 50360, 50361, 50362, 50363),
    51865: (50257, 50258, 50358, 50359, 50360, 50361, 50362, 50363, 50364),
    51866: (50257, 50258, 50359, 50360, 50361, 50362, 50363, 50364, 50365),
}

# Ids that openai-whisper 20250625 gives
ENCODED = {
    " Hello, world!": {51864: [18435, 11, 995, 0], 51865: [2425, 11, 1002, 0]},
    "Grüße aus Köln.": {51865: [20038, 774, 11451, 3437, 591, 13072, 77, 13]},
    "今天天气很好": {51865: [12074, 6135, 42204, 23801]},
    "Привет, мир": {51865: [43971, 31259, 11, 20536]},
}

# openai-whisper 20250625, get_tokenizer(multilingual=True).non_speech_tokens and of the English-only vocabulary
NON_SPEECH_MULTILINGUAL = (
    *(1, 2, 7, 8, 9, 10, 14, 25, 26, 27, 28, 29, 31, 58, 59, 60, 61, 62, 63, 90, 91, 92, 93, 359, 503, 522, 542, 873),
    *(893, 902, 918, 922, 931, 1350, 1853, 1982, 2460, 2627, 3246, 3253, 3268, 3536, 3846, 3961, 4183, 4667, 6585),
    *(6647, 7273, 9061, 9383, 10428, 10929, 11938, 12033, 12331, 12562, 13793, 14157, 14635, 15265, 15618, 16553),
    *(16604, 18362, 18956, 20075, 21675, 22520, 26130, 26161, 26435, 28279, 29464, 31650, 32302, 32470, 36865, 42863),
    *(47425, 49870, 50254),
)
NON_SPEECH_ENGLISH = (
    *(1, 2, 7, 8, 9, 10, 14, 25, 26, 27, 28, 29, 31, 58, 59, 60, 61, 62, 63, 90, 91, 92, 93, 357, 366, 438, 532, 685),
    *(705, 796, 930, 1058, 1220, 1267, 1279, 1303, 1343, 1377, 1391, 1635, 1782, 1875, 2162, 2361, 2488, 3467, 4008),
    *(4211, 4600, 4808, 5299, 5855, 6329, 7203, 9609, 9959, 10563, 10786, 11420, 11709, 11907, 13163, 13697, 13700),
    *(14808, 15306, 16410, 16791, 17992, 19203, 19510, 20724, 22305, 22935, 27007, 30109, 30420, 33409, 34949, 40283),
    *(40493, 40549, 47282, 49146),
)


@pytest.mark.parametrize("n_vocab", SIZES)
def test_special_tokens_stand_where_the_checkpoints_have_them(n_vocab: int) -> None:
    t = Tokenizer(n_vocab)
    found = (t.eot, t.sot, t.translate, t.transcribe, t.sot_lm, t.sot_prev, t.no_speech, t.no_timestamps)
    assert (*found, t.timestamp_begin) == FACTS[n_vocab]
    assert t.special_tokens["<|30.00|>"] == n_vocab - 1
    assert t.decode_with_timestamps([t.timestamp_begin + 54]) == "<|1.08|>"


def test_languages_follow_the_start_in_order() -> None:
    for n_vocab, n_languages in ((51864, 99), (51865, 99), (51866, 100)):
        t = Tokenizer(n_vocab)
        assert t.language_tokens == tuple(range(t.sot + 1, t.sot + 1 + n_languages))
        assert t.language_codes[:4] == ("en", "zh", "de", "es")
        assert t.language_codes[-1] == ("yue" if n_languages == 100 else "su")


def test_the_start_sequence_names_language_and_task() -> None:
    t = Tokenizer(51865, "German", "translate")
    assert t.sot_sequence == (50258, 50261, 50358)
    assert t.sot_sequence_including_notimestamps == (50258, 50261, 50358, 50363)
    assert Tokenizer(51865).sot_sequence == (50258, 50259, 50359)


def test_an_english_only_vocabulary_starts_alone() -> None:
    t = Tokenizer(51864, "de", "translate")
    assert (t.language, t.task, t.sot_sequence) == (None, None, (50257,))


@pytest.mark.parametrize("text", ENCODED)
def test_known_texts_have_known_ids(text: str) -> None:
    for n_vocab, ids in ENCODED[text].items():
        assert Tokenizer(n_vocab).encode(text) == ids


def test_marks_that_are_no_speech_are_the_references() -> None:
    assert Tokenizer(51865).non_speech_tokens == NON_SPEECH_MULTILINGUAL
    assert Tokenizer(51866).non_speech_tokens == NON_SPEECH_MULTILINGUAL
    assert Tokenizer(51864).non_speech_tokens == NON_SPEECH_ENGLISH


def test_suppression_always_holds_the_prompts_own_tokens() -> None:
    t = Tokenizer(51865)
    own = (t.sot, t.translate, t.transcribe, t.sot_lm, t.sot_prev, t.no_speech)
    assert suppressed(t, ()) == own
    assert suppressed(t, (9, 5, 9)) == (5, 9, *own)
    assert suppressed(t, (-1,)) == (*t.non_speech_tokens, *own)
    assert suppressed(t, (-1, 3)) == tuple(sorted({3, *t.non_speech_tokens, *own}))


@pytest.mark.parametrize("bad", [51865, -2])
def test_an_id_outside_the_vocabulary_cannot_be_suppressed(bad: int) -> None:
    with pytest.raises(OptionError, match=f"suppress_tokens: {bad} was given"):
        suppressed(Tokenizer(51865), (bad,))


def test_an_unknown_vocabulary_is_refused() -> None:
    with pytest.raises(ModelError, match="51900 tokens was given"):
        Tokenizer(51900)


def test_a_language_that_the_vocabulary_lacks_is_refused() -> None:
    with pytest.raises(OptionError, match="large-v3"):
        Tokenizer(51865, "Cantonese")
    assert Tokenizer(51866, "Cantonese").sot_sequence[1] == 50358


def test_a_wrong_task_is_refused() -> None:
    with pytest.raises(OptionError, match="task: 'sing' was given"):
        Tokenizer(51865, task="sing")


@pytest.mark.parametrize("n_vocab", SIZES)
@given(text=TEXTS)
@settings(max_examples=150, deadline=None)
def test_a_text_survives_encoding(n_vocab: int, text: str) -> None:
    t = Tokenizer(n_vocab)
    ids = t.encode(text)
    assert t.decode(ids) == text
    assert all(i < t.eot for i in ids)


@given(text=TEXTS)
@settings(max_examples=50, deadline=None)
def test_timestamps_are_dropped_from_text(text: str) -> None:
    t = Tokenizer(51865)
    ids = t.encode(text)
    assert t.decode([t.timestamp_begin, *ids, t.timestamp_begin + 1500]) == text
    assert t.decode_with_timestamps([t.timestamp_begin, *ids, t.timestamp_begin + 1]) == f"<|0.00|>{text}<|0.02|>"


def test_what_looks_like_a_special_token_is_text() -> None:
    t = Tokenizer(51865)
    assert t.eot not in t.encode("<|endoftext|>")
    assert t.decode(t.encode("<|endoftext|> <|0.00|>")) == "<|endoftext|> <|0.00|>"


@pytest.mark.parametrize("language", ["en", "zh"])
@given(text=TEXTS.filter(lambda text: REPLACEMENT not in text))
@settings(max_examples=150, deadline=None)
def test_words_join_to_the_text_and_lose_no_token(language: str, text: str) -> None:
    t = Tokenizer(51865, language)
    ids = [*t.encode(text), t.eot]
    words, word_tokens = t.split_to_word_tokens(ids)
    assert "".join(words) == text + "<|endoftext|>"
    assert [i for word in word_tokens for i in word] == ids
    assert all(t.decode_with_timestamps(own) == word for word, own in zip(words, word_tokens, strict=True))


@pytest.mark.parametrize("language", ["en", "zh"])
@given(ids=st.lists(st.integers(0, 50256) | st.integers(160, 255), max_size=20))
@settings(max_examples=150, deadline=None)
def test_broken_characters_lose_no_token(language: str, ids: list[int]) -> None:
    """The reference raises IndexError on a trailing half character whose bytes are two tokens."""
    _, word_tokens = Tokenizer(51865, language).split_to_word_tokens(ids)
    assert [i for word in word_tokens for i in word] == ids


def test_a_trailing_half_character_is_a_word() -> None:
    t = Tokenizer(51865, "zh")
    head = [t.encoding.encode_single_token(b) for b in (b"\xe6", b"\xb5")]
    assert t.split_to_word_tokens(head) == ([REPLACEMENT, REPLACEMENT], [head[:1], head[1:]])


def test_words_are_cut_at_spaces_and_punctuation_stands_alone() -> None:
    t = Tokenizer(51865, "en")
    words, _ = t.split_to_word_tokens([*t.encode(" Well, it's extraordinarily, um... fine!"), t.eot])
    assert words == [" Well", ",", " it's", " extraordinarily", ",", " um...", " fine", "!", "<|endoftext|>"]


@pytest.mark.parametrize(("language", "text"), [("zh", "你好，世界"), ("ja", "音声認識"), ("yue", "廣東話")])
def test_a_language_without_spaces_is_cut_at_characters(language: str, text: str) -> None:
    t = Tokenizer(51866, language)
    words, word_tokens = t.split_to_word_tokens(t.encode(text))
    assert "".join(words) == text
    assert len(words) > 1
    assert all(REPLACEMENT not in word for word in words)
    assert len(word_tokens) == len(words)
