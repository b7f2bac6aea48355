"""How wide text is, and which characters stay together. Unicode only: knows no subtitle, no language."""

from __future__ import annotations

import re
from functools import lru_cache
from unicodedata import category, combining, east_asian_width

JOINER = "\u200d"
LEADING_VOWELS = frozenset("เแโใไເແໂໃໄ")  # Thai, Lao: written before the consonant after which they are spoken
FOLLOWING = frozenset("ะาำๅๆฯะາຳໆຯ")  # Thai, Lao: never without what stands before
# Closing marks, small kana, marks of length and repetition: not at the beginning of a line (kinsoku shori, JIS X 4051)
NO_START = frozenset(
    "、。，．・：；？！゛゜ヽヾゝゞ々〻ー’”）〕］｝〉》」』】〙〗〟»›｠°′″℃％‰"
    "ぁぃぅぇぉっゃゅょゎゕゖァィゥェォッャュョヮヵヶㇰㇱㇲㇳㇴㇵㇶㇷㇸㇹㇺㇻㇼㇽㇾㇿ"
    "!),.:;?]}…‥–—〜～｡､･ﾞﾟｰ،؛؟۔।॥%"
)
NO_END = frozenset("‘“（〔［｛〈《「『【〘〖〝«‹｟([{＄￥￡$¥£€№#@")  # opening marks: not at the end of one
PAIRS = frozenset("…‥—―─")  # written twice, and not parted


@lru_cache(maxsize=16384)
def _width(c: str, ambiguous_width: int) -> int:
    if c == JOINER or category(c) in ("Mn", "Me", "Cf", "Cc"):
        return 0
    kind = east_asian_width(c)
    return 2 if kind in "WF" else ambiguous_width if kind == "A" else 1


def columns(text: str, ambiguous_width: int = 1) -> int:
    """Columns that a text takes: two for a full-width character, none for a mark that stands on another."""
    if text.isascii():
        return len(text)
    n, joined = 0, False
    for c in text:
        n += 0 if joined else _width(c, ambiguous_width)
        joined = c == JOINER
    return n


def stays(a: str, b: str) -> bool:
    """b is drawn with a, the character before it: accents, vowel signs, joined pictures, Hangul of parts."""
    if combining(b) or category(b) in ("Mn", "Mc", "Me") or b in FOLLOWING or a in LEADING_VOWELS:
        return True
    if a == JOINER or b == JOINER or "\ufe00" <= b <= "\ufe0f" or "\U0001f3fb" <= b <= "\U0001f3ff":
        return True
    return "\u1160" <= b <= "\u11ff"


def clusters(text: str) -> list[str]:
    """The text as what a reader takes for characters."""
    found: list[str] = []
    for c in text:
        if found and (stays(found[-1][-1], c) or (_is_flag(c) and len(found[-1]) == 1 and _is_flag(found[-1]))):
            found[-1] += c
        else:
            found.append(c)
    return found


def _is_flag(c: str) -> bool:
    """Half of one: two of these letters make a flag."""
    return "\U0001f1e6" <= c <= "\U0001f1ff"


@lru_cache(maxsize=16384)
def is_wide(c: str) -> bool:
    """Of a script that lines may divide between any two characters: Han, kana, pictures. Not Hangul."""
    if "\uac00" <= c <= "\ud7a3" or "\u1100" <= c <= "\u11ff" or "\u3130" <= c <= "\u318f":
        return False
    return east_asian_width(c) in "WF" or "\uff61" <= c <= "\uff9f"


def is_spaceless(c: str) -> bool:
    """Thai, Lao, Khmer, Burmese: no spaces between words, and no division but between words."""
    return "\u0e00" <= c <= "\u0eff" or "\u1780" <= c <= "\u17ff" or "\u1000" <= c <= "\u109f"


def is_katakana(c: str) -> bool:
    return "\u30a0" <= c <= "\u30ff" or "\uff66" <= c <= "\uff9f"


def is_hiragana(c: str) -> bool:
    return "\u3040" <= c <= "\u309f"


def may_part(a: str, b: str) -> bool:
    """A line may end between two characters that stand side by side in one text."""
    if stays(a, b) or b in NO_START or a in NO_END or (a == b and a in PAIRS):
        return False
    if is_katakana(a) and is_katakana(b):
        return False  # one word, often a name
    if a.isdigit() or a in _NUMERALS:
        return (is_wide(b) or is_wide(a)) and not (b in _NUMERALS or b in _COUNTERS or is_katakana(b) or b.isdigit())
    if (b in _NUMERALS and a in "第约約") or a + b in _COMPOUNDS:
        return False
    if a.isalnum() and not is_wide(a) and b.isalnum() and not is_wide(b):
        return False
    return is_wide(a) or is_wide(b)


_NUMERALS = frozenset("〇零一二三四五六七八九十百千万萬億亿兆两兩")
_COUNTERS = frozenset(
    "个個人年月日号號时時点點分秒元円块塊岁歳歲回次度名本枚台匹件位只隻条條张張公米克吨倍割番階层層週周天章巻つ小美欧歐英平立か箇"
)
# Of what a number is followed by, these stay whole
_COMPOUNDS = frozenset(re.findall("..", "公里公斤公尺公分小时小時分钟分鐘厘米毫米千米美元日元欧元歐元英镑英鎊平方立方"))
_COMPOUNDS |= frozenset(re.findall("..", "時間年間分間秒間週間日間か月か国箇月箇所"))
