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
    "脚条测试图馆欢静儿岁飞鸟鱼龙风阳阴阶队陈随难项须顾题颜类饭饮鸡齐齿楼树桥样权极构标档检欧残毕气汇汉汤沟泪泽洁浓济涛润湾湿灭灵灾炉点烂热爷牵独"
    "狮环玛画疗疯盐监盖盘码确碍礼祸离积称稳穷窃竞笔签简粮紧纸纯终绍绝统绩绪维综缓编缘罗职联聪肃肠肤脑脸舰艺节苏荣药获莲营蓝虑虚虽补装裤规订讨训记"
    "讲许论设访证评诉诊词译诗诚误诸课调谈谓贝负财责败货质贫购贵费资赏赔赖赚赛赵跃践轨较辆辑辞辩迁违邮邻释针钟钢钥铃铜铺销锁错键镇镜闭闹闻阅阔阵际"
    "陆险韩顶顺预领频额驻驾骂验骑鲜鸣麦"
)
FULL = (
    "這個們來時說國會為對發經過動還現種應實業東進開關門問間見長頭書車馬語話請讓認識誰謝讀寫學習電視覺聽聲樂愛親買賣錢銀鐵給紅綠級組織結網絡線練"
    "繼續約紀輕轉輪軟載輸邊達運遠連遲選適遞後從眾眾體並產億僅價傳傷備興寫軍農決況淨減剛創別劇辦務勞勢區醫華協單歷壓參雙變號員"
    "腳條測試圖館歡靜兒歲飛鳥魚龍風陽陰階隊陳隨難項須顧題顏類飯飲雞齊齒樓樹橋樣權極構標檔檢歐殘畢氣匯漢湯溝淚澤潔濃濟濤潤灣濕滅靈災爐點爛熱爺牽獨"
    "獅環瑪畫療瘋鹽監蓋盤碼確礙禮禍離積稱穩窮竊競筆簽簡糧緊紙純終紹絕統績緒維綜緩編緣羅職聯聰肅腸膚腦臉艦藝節蘇榮藥獲蓮營藍慮虛雖補裝褲規訂討訓記"
    "講許論設訪證評訴診詞譯詩誠誤諸課調談謂貝負財責敗貨質貧購貴費資賞賠賴賺賽趙躍踐軌較輛輯辭辯遷違郵鄰釋針鐘鋼鑰鈴銅鋪銷鎖錯鍵鎮鏡閉鬧聞閱闊陣際"
    "陸險韓頂順預領頻額駐駕罵驗騎鮮鳴麥"
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
