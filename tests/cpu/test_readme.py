"""What the README shows runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FENCED = re.compile(r"```python\n(.*?)```", re.DOTALL)
BLOCKS = FENCED.findall((ROOT / "README.md").read_text("utf-8"))
OTHERS = ("docs/alignment.md", "docs/speakers.md")


def test_the_readme_has_code() -> None:
    assert len(BLOCKS) >= 2


@pytest.mark.weights
@pytest.mark.parametrize("block", BLOCKS, ids=[b.strip().splitlines()[0][:40] for b in BLOCKS])
def test_a_block_of_the_readme_runs(
    block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(block, "README.md", "exec"), names)
    if "print" in block:
        assert "house by the sea" in capsys.readouterr().out
        assert (tmp_path / "english.srt").read_text("utf-8").startswith("1\n00:00:")
        names["model"].close()  # type: ignore[attr-defined]


@pytest.mark.weights
@pytest.mark.parametrize("page", OTHERS)
def test_the_code_of_a_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    (block,) = FENCED.findall((ROOT / page).read_text("utf-8"))
    names: dict[str, object] = {}
    exec(compile(block, page, "exec"), names)
    names["model"].close()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "page",
    [
        *OTHERS,
        "README.md",
        "CONTRIBUTING.md",
        "docs/architecture.md",
        "docs/cli.md",
        "docs/log.md",
        "docs/subtitles.md",
    ],
)
def test_links_of_the_pages_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if not target.startswith("http"):
            assert ((ROOT / page).parent / target).exists(), f"{page} links to {target}, which is not there"


@pytest.mark.parametrize("page", ["README.md", "docs/cli.md", "docs/subtitles.md"])
def test_flags_that_the_pages_name_exist(page: str) -> None:
    known = (ROOT / "docs" / "cli.md").read_text("utf-8").replace("_", "-")
    for flag in set(re.findall(r"(?<![\w-])--[a-z][a-z_-]+", (ROOT / page).read_text("utf-8"))):
        assert flag.replace("_", "-") in known, f"{page} names {flag}, which no command has"
