"""Simplified or traditional characters: windows of Chinese that are decoded alone may differ. Pure."""

from __future__ import annotations

from enum import Enum

from sottovoce.options import Options
from sottovoce.text.languages import wanted_script

CHINESE = ("zh", "yue")  # Japanese has characters of both

# Common characters that differ, each pair at the same place
SIMPLE = (
    "这个们来时说国会为对发经过动还现种应实业东进开关门问间见长头书车马语话请让认识谁谢读写学习电视觉听声乐爱亲买卖钱银铁给红绿级组织结网络线练"
    "继续约纪轻转轮软载输边达运远连迟选适递后从众众体并产亿仅价传伤备兴写军农决况净减刚创别剧办务劳势区医华协单历压参双变号员"
)
FULL = (
    "這個們來時說國會為對發經過動還現種應實業東進開關門問間見長頭書車馬語話請讓認識誰謝讀寫學習電視覺聽聲樂愛親買賣錢銀鐵給紅綠級組織結網絡線練"
    "繼續約紀輕轉輪軟載輸邊達運遠連遲選適遞後從眾眾體並產億僅價傳傷備興寫軍農決況淨減剛創別劇辦務勞勢區醫華協單歷壓參雙變號員"
)


class Script(Enum):
    SIMPLIFIED = "simplified"
    TRADITIONAL = "traditional"


CONTEXT = {Script.SIMPLIFIED: "以下是普通话的句子。", Script.TRADITIONAL: "以下是普通話的句子。"}


def wanted(o: Options) -> Script | None:
    """The script that the options ask for, by the language they name."""
    tags = (o.language, *o.languages)
    found = next((script for tag in tags if (script := wanted_script(tag)) is not None), None)
    return {"Hans": Script.SIMPLIFIED, "Hant": Script.TRADITIONAL}[found] if found else None


def script_of(text: str) -> Script | None:
    """The script that most of a text's telling characters belong to; None if none tells."""
    n_simple = sum(c in _SIMPLE for c in text)
    n_full = sum(c in _FULL for c in text)
    if n_simple == n_full:
        return None
    return Script.SIMPLIFIED if n_simple > n_full else Script.TRADITIONAL


_SIMPLE = frozenset(SIMPLE) - frozenset(FULL)
_FULL = frozenset(FULL) - frozenset(SIMPLE)
