"""Words where no spaces are written: joined they are the text, and nothing is cut that belongs together."""

from __future__ import annotations

import importlib.util
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sottovoce.text.tokenizer import UNSPACED, Tokenizer
from sottovoce.text.unspaced import is_spoken, joined, units

TEXTS = {
    "ja": "東京は日本の首都です。ちょっと、カタカナ語もOpenAI 2024年に使われます。",
    "zh": "我们今天去北京，看看长城。Open AI 3个人",
    "yue": "我哋今日去飲茶。",
    "th": "สวัสดีครับ วันนี้อากาศดีมาก เเละ น้ำใจ",
    "lo": "ສະບາຍດີ ເຈົ້າ",
    "my": "မင်္ဂလာပါ",
    "km": "សួស្តី ភាសាខ្មែរ",
}


@pytest.mark.parametrize("language", TEXTS)
def test_units_are_the_text_and_keep_clusters_whole(language: str) -> None:
    found = units(TEXTS[language], language)
    assert "".join(found) == TEXTS[language] and len(found) > 1
    for unit in found:
        assert unicodedata.category(unit[0])[0] != "M"  # a mark that combines stands with its letter
        assert unit[0] not in "。、，！？" and unit.strip()


@given(st.text(alphabet="東京はのカター。、「」 aZ7สวัเดี我们", max_size=30), st.sampled_from(["ja", "zh", "th", "lo"]))
def test_no_text_is_lost(text: str, language: str) -> None:
    assert "".join(units(text, language)) == text
    assert sum(joined(list(text), language)) == len(text)


def test_japanese_words_hold_their_endings() -> None:
    found = units("使われます。今日は", "ja")
    assert found[0].startswith("使わ") and found[-1] == "今日は"


@pytest.mark.skipif(importlib.util.find_spec("budoux") is None, reason="the extra `words` is not installed")
def test_a_segmenter_finds_words_that_rules_cannot() -> None:
    assert units("我们今天去北京", "zh") == ["我们", "今天", "去", "北京"]
    assert units("สวัสดีครับ วันนี้", "th")[:2] == ["สวัสดี", "ครับ"]


@pytest.mark.parametrize("language", sorted(set(TEXTS) & UNSPACED - {"yue"}))
def test_a_word_ends_where_a_token_does(language: str) -> None:
    """Never inside a character: Whisper's tokens are bytes."""
    tokenizer = Tokenizer(51865, language)
    pieces, _ = tokenizer.split_on_unicode(tokenizer.encode(TEXTS[language]))
    assert "".join(pieces) == TEXTS[language]
    counts = joined(pieces, language)
    assert sum(counts) == len(pieces) and len(counts) <= len(pieces)


def test_signs_are_spoken_and_marks_are_not() -> None:
    assert all(is_spoken(w) for w in (" 7", "%", " $", "+", "あ", "&"))
    assert not any(is_spoken(w) for w in (" -", "...", "。", " ", '"'))
