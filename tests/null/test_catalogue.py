"""The catalogue's facts agree with one another, and asking it costs nothing."""

import re
import subprocess
import sys

import pytest

from sottovoce.errors import ModelError
from sottovoce.model.catalogue import CATALOGUE, Card, find, suggest

NAMES = [
    *("tiny", "tiny.en", "base", "base.en", "small", "small.en", "medium", "medium.en"),
    *("large-v1", "large-v2", "large-v3", "large-v3-turbo"),
    *("distil-small.en", "distil-medium.en", "distil-large-v2", "distil-large-v3", "distil-large-v3.5"),
]
PUBLISHED = {  # parameters in millions, as the model cards state them
    "tiny": 39, "base": 74, "small": 244, "medium": 769, "large-v2": 1550, "large-v3-turbo": 809,
    "distil-small.en": 166, "distil-medium.en": 394, "distil-large-v2": 756, "distil-large-v3": 756,
}  # fmt: skip
every_card = pytest.mark.parametrize("card", CATALOGUE, ids=lambda card: card.name)


def test_every_published_checkpoint_has_a_card() -> None:
    assert [card.name for card in CATALOGUE] == NAMES


def test_no_name_or_alias_is_used_twice() -> None:
    names = [name for card in CATALOGUE for name in (card.name, *card.aliases)]
    assert len(names) == len(set(names))


@every_card
def test_dimensions_follow_from_the_name(card: Card) -> None:
    dims, name = card.dims, card.name
    assert dims.n_audio_state == dims.n_text_state == 64 * dims.n_audio_head == 64 * dims.n_text_head
    assert (dims.n_audio_ctx, dims.n_text_ctx) == (1500, 448)
    v3 = "v3" in name
    assert dims.n_mels == (128 if v3 else 80)
    assert dims.n_vocab == (51864 if name.endswith(".en") else 51866 if v3 else 51865)
    shallow = "distil" in name or "turbo" in name
    assert (dims.n_text_layer < dims.n_audio_layer) if shallow else (dims.n_text_layer == dims.n_audio_layer)


@every_card
def test_english_only_models_say_so(card: Card) -> None:
    expected = 1 if card.name.endswith(".en") or "distil" in card.name else 100 if "v3" in card.name else 99
    assert card.n_languages == expected


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_as_many_as_published(name: str) -> None:
    card = find(name)
    assert card is not None
    assert card.n_parameters / 1e6 == pytest.approx(PUBLISHED[name], rel=0.05)  # cards round, and count differently


@every_card
def test_size_is_two_bytes_a_parameter(card: Card) -> None:
    # the .pt also holds the sinusoids (1500 x n_state) and a few kilobytes of names
    assert 2 * card.n_parameters <= card.size_bytes <= 2 * card.n_parameters + 4 * 1500 * card.dims.n_audio_state + 2e6


@every_card
def test_openai_urls_carry_the_hash_of_the_card(card: Card) -> None:
    if card.url is None:
        assert card.name.startswith("distil-")
        return
    assert card.url.split("/")[-2:] == [card.sha256, f"{card.name}.pt"]


@every_card
def test_alignment_heads_are_heads_of_the_decoder(card: Card) -> None:
    heads = card.alignment_heads
    assert (heads is None) == card.name.startswith("distil-")
    for i_layer, i_head in heads or ():
        assert 0 <= i_layer < card.dims.n_text_layer and 0 <= i_head < card.dims.n_text_head
    assert heads is None or 4 <= len(heads) <= 30


def test_alignment_heads_of_base_are_those_of_its_generation_config() -> None:
    base = find("base")
    assert base is not None  # source: alignment_heads in Systran/faster-whisper-base config.json
    assert base.alignment_heads == ((3, 1), (4, 2), (4, 3), (4, 7), (5, 1), (5, 2), (5, 4), (5, 6))


def test_packages_are_pinned() -> None:
    packages = [package for card in CATALOGUE for package in card.packages]
    assert packages
    for package in packages:
        assert package.form in ("pt", "ct2", "ggml")
        for file in package.files:
            assert re.fullmatch(r"[0-9a-f]{64}", file.sha256) and file.size_bytes > 0 and file.pieces
            assert all(re.fullmatch(r"\d+\.\d+\.\d+", piece.version) for piece in file.pieces)


def test_the_package_of_tiny_en_holds_openais_own_file() -> None:
    card = find("tiny.en")
    assert card is not None
    assert card.packages[0].files[0].sha256 == card.sha256


@pytest.mark.parametrize(("alias", "name"), [("large", "large-v3"), ("turbo", "large-v3-turbo")])
def test_an_alias_finds_its_model(alias: str, name: str) -> None:
    card = find(alias)
    assert card is not None and card.name == name


def test_a_mistyped_name_is_answered_with_likely_ones() -> None:
    assert "large-v3" in suggest("largev3")
    assert suggest("qqqq") == ()


def test_an_unknown_name_is_refused_with_what_to_do(tmp_path) -> None:
    from sottovoce.config import Config
    from sottovoce.model import hub

    with pytest.raises(ModelError, match=r"'bsae' was given, .* expected; did you mean base"):
        hub.fetch("bsae", Config(model_dir=str(tmp_path)))


def test_asking_the_hub_imports_nothing_heavy() -> None:
    code = "import sys, sottovoce.model.hub; print({'torch', 'numpy', 'huggingface_hub', 'httpx'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
