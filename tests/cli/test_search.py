"""`moldiff generate --best-of` and `--particles`: what is printed, written and gone on with."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from moldiff.generation import stream

Command = Callable[..., Any]

EASY = ("--steps", 12, "--complete", "--temperature", 0.5, "--device", "cpu", "--quiet")
BEST = ("--best-of", 2, "--reward", "qed")
STEERED = ("--particles", 2, "--reward", "qed", "--reward", "0.1*logp=1..3", "--tilt", 5)
SEARCHES = pytest.mark.parametrize("search", [BEST, STEERED], ids=["best-of", "particles"])


def test_best_of_says_what_it_kept(moldiff: Command, tiny: Path) -> None:
    found = moldiff("generate", tiny, "-n", 12, *EASY, *BEST)
    assert found.code == 0, found.err
    assert "reward qed=high: " in found.out
    assert "; unsteered " in found.out
    assert "(best-of 2)" in found.out
    assert "oracle calls a molecule: " in found.out


def test_particles_say_how_they_were_steered(moldiff: Command, tiny: Path) -> None:
    more = ("--search-option", "looks=2", "--search-option", "keep=best", "--sampler", "mdlm")
    found = moldiff("generate", tiny, "-n", 9, *EASY, *STEERED, *more)
    assert found.code == 0, found.err
    assert "reward qed=high + 0.1*logp=1..3: " in found.out
    assert "(particles 2, tilt 5, 2 looks, 16 draws)" in found.out
    known = moldiff("generate", tiny, "-n", 3, *EASY, *STEERED, *more, "--json").json
    assert known["search"] == {
        "method": "particles",
        "size": 2,
        "rewards": ["qed", "0.1*logp=1..3"],
        "tilt": 5.0,
        "looks": 2,
        "draws": 16,
        "threshold": 0.5,
        "potential": "tempered",
        "resampling": "systematic",
        "keep": "best",
        "floor": None,
        "control": True,
    }


@SEARCHES
def test_an_interrupted_search_goes_on(
    search: tuple[Any, ...], moldiff: Command, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "GROUP", {"cpu": 8})
    monkeypatch.setattr(stream, "SCORED", 3)
    line = ("generate", tiny, "-n", 10, *EASY, *search, "--out")
    assert moldiff(*line, "whole.csv").code == 0
    append, left = stream.Stream._piece, [3]

    def stops(self: stream.Stream, *arguments: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            self.interrupted = True
            return None
        return append(self, *arguments)

    monkeypatch.setattr(stream.Stream, "_piece", stops)
    assert moldiff(*line, "parts.csv").code == 130
    monkeypatch.setattr(stream.Stream, "_piece", append)
    again = moldiff(*line, "parts.csv", "--resume")
    assert again.code == 0, again.err
    assert "going on after" in again.err
    whole, parts = (tmp_path / name for name in ("whole.csv", "parts.csv"))
    assert whole.read_bytes() == parts.read_bytes()
    assert {"reward", "reward_unsteered"} <= set(pd.read_csv(whole).columns)
    # Another search is another run.
    left[0] = 3
    monkeypatch.setattr(stream.Stream, "_piece", stops)
    assert moldiff(*line, "third.csv").code == 130
    monkeypatch.setattr(stream.Stream, "_piece", append)
    other = moldiff(
        *[*line[:3], 10, *EASY, "--best-of", 9, "--reward", "qed"], "--out", "third.csv", "--resume"
    )
    assert other.code == 2
    assert "search" in other.err


@SEARCHES
def test_distinct_molecules_are_found_by_a_search_too(
    search: tuple[Any, ...], moldiff: Command, tiny: Path, tmp_path: Path
) -> None:
    found = moldiff(
        "generate", tiny, "-n", 3, "--unique", *EASY, *search, "--out", "u.csv", "--report", "u.html"
    )
    assert found.code == 0, found.err
    frame = pd.read_csv(tmp_path / "u.csv")
    assert frame["smiles"].nunique() == 3
    assert (tmp_path / "u.html").stat().st_size > 0


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--best-of", 4), "reward"),
        (("--reward", "qed"), "--best-of"),
        (("--best-of", 4, "--particles", 4, "--reward", "qed"), "leave one off"),
        (("--best-of", 4, "--reward", "qedd"), "qedd"),
        (("--particles", 4, "--reward", "qed", "--search-option", "looks"), "--search-option"),
        (("--particles", 4, "--reward", "qed", "--tilt", "nan"), "tilt"),
    ],
)
def test_a_mistake_is_told_in_one_line(
    more: tuple[Any, ...], said: str, moldiff: Command, tiny: Path
) -> None:
    found = moldiff("generate", tiny, "-n", 2, *EASY, *more)
    assert found.code == 2
    assert said.strip("-") in found.err
    assert len(found.err.strip().splitlines()) == 1
    assert found.out == ""
