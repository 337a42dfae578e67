"""The report: what it says, that it loads and runs nothing that is not its own, and how it is written."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from moldiff.chem import molecule, oracles, report, report_facts
from moldiff.data.molecules import Molecules
from moldiff.errors import MoldiffError

NAMES = ("qed", "logp", "sa", "tpsa", "mw", "ring_count")
GOOD = ("CCO", "c1ccccc1", "CC(=O)O", "C1CC1", "CCO", "N#CC", "C[C@H](F)Cl", "CCCCO")
BAD = ("C1CC", "CC(", "C(C)(C)(C)(C)C", "", "[CH3]", "CC.O")
VOID = {"meta", "input", "img", "link", "wbr"}


def table(raw: tuple[str, ...] = GOOD + BAD, novel: tuple[str, ...] = ("C1CC1",)) -> pd.DataFrame:
    """A table as a call makes it, of these strings."""
    checks = [molecule.check(text) for text in raw]
    canonical = [check.canonical for check in checks]
    return pd.DataFrame(
        {
            "smiles": pd.Series(canonical, dtype=object),
            "raw": pd.Series(raw, dtype=object),
            "valid": np.array([check.valid for check in checks], dtype=bool),
            "sane": np.array([check.sane for check in checks], dtype=bool),
            "reason": pd.Series([check.reason for check in checks], dtype=object),
            "novel": np.array([text in novel for text in canonical], dtype=bool),
            **oracles.score(canonical, NAMES),
        }
    )


def facts(**changes: Any) -> dict[str, Any]:
    """The summary of such a call."""
    return {
        "requested": 14,
        "drawn": 14,
        "valid": 10,
        "sane": 8,
        "unique": 9,
        "validity": 10 / 14,
        "sanity": 8 / 14,
        "uniqueness": 0.9,
        "novelty": 1 / 9,
        "novel": {"canonical": 1, "upstream": 2},
        "rejects": {"ring": 1, "branch": 1, "valence": 1, "empty": 1, "radical": 1, "fragments": 1},
        "properties": {
            "qed": {
                "asked": "0.4",
                "mean": 0.4123,
                "se": 0.0211,
                "mean_absolute_error": 0.0333,
                "training_mean": 0.4652,
            }
        },
        "targets": ["qed=0.4"],
        "nearest_rows_distance": 0.01,
        "forwards_per_molecule": 27.68,
        "token_forwards_per_molecule": 389.36,
        "molecules_per_second": 25.9,
        "setting": {"sampler": "first-hitting", "steps": None, "scale": 2.0, "options": {"eta": 0.3}},
        "level": "x0",
        "precision": "bf16",
        "device": "cpu",
        "seed": 7,
        "model": "qm9",
        "model_sha256": "053e4de7",
        "versions": {"moldiff": "0.1.0", "rdkit": "2026.9.1"},
        "reference_matches_rdkit": True,
        "command": "moldiff generate qm9 -n 14 --target qed=0.4",
        **changes,
    }


TRAINING = {"qed": np.linspace(0.1, 0.66, 50), "logp": np.linspace(-2, 3, 50), "ring_count": np.arange(5.0)}


def words(text: list[str]) -> str:
    """The words of a text in pieces, a space between any two."""
    return " ".join(" ".join(text).split())


class Page(HTMLParser):
    """The elements of a page, each with its attributes and the text directly inside it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str], list[str]]] = []
        self.open: list[tuple[str, dict[str, str], list[str]]] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = (tag, {name: value or "" for name, value in attrs}, [])
        self.found.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}, []))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element[2].append(data)

    def all(self, tag: str) -> list[tuple[dict[str, str], str]]:
        return [(attributes, words(text)) for name, attributes, text in self.found if name == tag]

    def text(self, **wanted: str) -> str:
        """The text of the element with that attribute."""
        ((_, _, text),) = [e for e in self.found if all(e[1].get(k) == v for k, v in wanted.items())]
        return words(text)


def render(frame: pd.DataFrame | None = None, **changes: Any) -> Page:
    return Page(report.render(table() if frame is None else frame, facts(**changes), TRAINING))


def test_the_page_loads_nothing_and_allows_nothing_but_its_own_style_and_script() -> None:
    page = render()
    html = report.render(table(), facts(), TRAINING)
    assert not re.search(r"https?:|@import|url\(|//\w", html)
    assert {tag for tag, _, _ in page.found}.isdisjoint({"link", "img", "iframe", "object", "base", "form"})
    for tag, attributes, _ in page.found:
        assert attributes.keys().isdisjoint({"src", "srcset", "action", "data", "xlink:href", "style"})
        assert not [name for name in attributes if name.startswith("on")]
        assert attributes.get("href", "#").startswith("#"), tag
    (policy,) = [
        a["content"] for a, _ in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy"
    ]
    expected = ["default-src 'none'"]
    for kind in ("style", "script"):
        ((attributes, _),) = page.all(kind)
        assert attributes == {}
        ((_, _, text),) = [element for element in page.found if element[0] == kind]
        digest = base64.b64encode(hashlib.sha256("".join(text).encode()).digest()).decode()
        expected.append(f"{kind}-src 'sha256-{digest}'")
    assert policy == "; ".join(expected)


def test_the_page_can_be_read_without_eyes_or_mouse() -> None:
    page = render()
    assert page.all("html")[0][0]["lang"] == "en"
    assert len(page.all("h1")) == len(page.all("main")) == 1
    ids = [attributes["id"] for _, attributes, _ in page.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes, _ in page.found:
        if "aria-labelledby" in attributes:
            assert attributes["aria-labelledby"] in ids
        if tag == "a":
            assert attributes["href"].removeprefix("#") in ids
        if tag == "svg":
            assert attributes.get("aria-hidden") == "true" or attributes.get("aria-label")
        if tag == "th":
            assert attributes["scope"] in ("row", "col")
        if "scroll" in attributes.get("class", ""):
            assert attributes["tabindex"] == "0"
    sorting = [attributes for attributes, _ in page.all("th") if "aria-sort" in attributes]
    assert len(sorting) == len(page.all("button")) == 4 + len(NAMES)
    labels = [attributes.get("aria-label") for attributes, _ in page.all("div")]
    assert "structure of C[C@H](F)Cl" in labels


def test_the_page_says_what_was_asked_achieved_rejected_and_how() -> None:
    page = render()
    assert page.all("title")[0][1] == "14 molecules from qm9, qed 0.4"
    summary = page.text(id="summary")
    for words in ("requested 14", "valid 10 71.4 % of samples", "sane 8 57.1 %", "unique 9 90.0 % of valid"):
        assert words in summary
    assert "novel 1 11.1 % of unique" in summary
    assert "0.4 0.4123 ± 0.021 0.4652 mean absolute error 0.0333" in page.text(id="targets")
    rejects = page.text(id="rejects")
    assert all(report_facts.REASONS[reason] in rejects for reason in facts()["rejects"])
    made = page.text(id="made")
    for words in ("moldiff generate qm9 -n 14 --target qed=0.4", "seed 7", "053e4de7", "rdkit 2026.9.1"):
        assert words in made
    assert "sampler first-hitting, scale 2, eta 0.3" in made
    assert "27.68 calls of the network a molecule, over 389.4 tokens" in made
    assert "notice" not in [attributes.get("class") for attributes, _ in page.all("p")]


def test_charts_compare_with_the_training_rows_and_mark_what_was_asked() -> None:
    page = render()
    charts = [a["aria-label"] for a, _ in page.all("svg") if "generated" in a.get("aria-label", "")]
    assert [label.partition(":")[0] for label in charts] == ["qed", "logp", "ring_count", "sa", "tpsa", "mw"]
    assert charts[0] == "qed: generated 10, mean 0.412; training 50, mean 0.38; asked 0.4"
    axes = [text for attributes, text in page.all("text") if attributes.get("class") == "title"]
    assert axes[:6] == ["qed", "logp", "ring_count", "sa", "tpsa (Å²)", "mw (g/mol)"]


def test_stored_counts_go_before_those_of_the_table() -> None:
    stored = {"logp": {"edges": [0, 1, 2], "generated": [30, 10], "training": [5, 5]}}
    page = render(histograms=stored, drawn=40, requested=40)
    labels = [attributes.get("aria-label", "") for attributes, _ in page.all("svg")]
    # The mean of some rows is not that of all.
    assert "logp: generated 40, mean ≈ 0.75; training 10, mean 0.5" in labels
    notices = [text for attributes, text in page.all("p") if attributes.get("class") == "notice"]
    assert notices == ["Note. The molecules shown and the table are taken from 14 of 40 samples."]
    assert "also hold what lies beyond" in page.text(id="distributions")


def test_the_best_are_distinct_sane_novel_first_and_then_near() -> None:
    page = render()
    best = re.findall(r"qed (\S+) (novel|in the data set) (\S+)", page.text(id="best"))
    assert {smiles for *_, smiles in best} == {molecule.canonical(text) for text in GOOD}
    assert len(best) == len(set(GOOD))
    assert best[0][1:] == ("novel", "C1CC1")
    known = [abs(float(value) - 0.4) for value, state, _ in best if state != "novel"]
    assert known == sorted(known)
    without = render(properties={}, targets=[])
    best = re.findall(r"qed (\S+) logp \S+ (?:novel|in the data set) (\S+)", without.text(id="best"))
    values = [float(value) for value, smiles in best if smiles != "C1CC1"]
    assert values == sorted(values, reverse=True)
    assert "No property was asked for." in [text for _, text in without.all("p")]


def test_the_typical_are_a_sample_of_the_first_rows_that_the_seed_fixes() -> None:
    frame = table(("C" * 1, "CC", "CCC", "CCCC") * 10 + ("CCO",) * 40)
    # The rows 0 to 39 are the first; the others are in the table because they are good.
    frame.index = pd.Index([*range(40), *range(100, 140)])
    shown = [render(frame, seed=seed, drawn=500).text(id="typical") for seed in (1, 1, 2)]
    assert shown[0] == shown[1] != shown[2]
    assert "among the first 40" in shown[0]
    assert not [text for text in shown if "CCO" in text]
    assert shown[0].count("in the data set") == report.SHOWN


def test_what_is_counted_from_the_table_is_counted_from_its_first_rows() -> None:
    frame = table(("C",) * 4 + ("c1ccccc1",) * 4)
    frame.index = pd.Index([100, 101, 102, 103, 0, 1, 2, 3])
    labels = [a.get("aria-label", "") for a, _ in render(frame, drawn=500, properties={}).all("svg")]
    assert "ring_count: generated 4, mean 1; training 5, mean 2" in labels
    labels = [a.get("aria-label", "") for a, _ in render(frame, drawn=500, kept=8, properties={}).all("svg")]
    assert "ring_count: generated 8, mean 0.5; training 5, mean 2" in labels


def test_what_was_measured_besides_has_its_row_chart_and_columns() -> None:
    frame = table().assign(mine=np.arange(14.0), oracle_reason=[None] * 13 + ["it took too long"])
    page = render(frame, measured={"mine": {"mean": 4.5, "se": 0.25, "count": 10, "missing": 2}})
    assert "mine not asked 4.5 ± 0.25 – 2 without a value" in page.text(id="targets")
    labels = [a.get("aria-label", "") for a, _ in page.all("svg")]
    assert "mine: generated 10, mean 4.5; training 0, mean –" in labels
    heads = [(text, a.get("class")) for a, text in page.all("th") if "aria-sort" in a]
    assert heads[-2:] == [("mine", None), ("oracle_ reason", "text")]
    assert "it took too long" in page.text(id="samples")


def test_rows_with_targets_of_their_own_have_a_scatter() -> None:
    frame = table().assign(target_logp=np.arange(14.0))
    page = render(frame)
    labels = [attributes.get("aria-label") for attributes, _ in page.all("svg")]
    assert "logp, achieved against asked, 10 samples" in labels
    heads = [text for attributes, text in page.all("th") if attributes.get("scope") == "col"]
    assert heads[-1] == "target_ logp"  # where a line may break
    assert not [label for label in labels if label and label.startswith("logp:") and "asked" in label]


def test_every_sample_is_in_the_table_with_its_number_and_reason() -> None:
    page = render()
    frame = table()
    rows = [text.split(" ") for _, text in page.all("tr")][-len(frame) :]
    assert sorted(int(row[0]) for row in rows) == list(range(14))
    text = page.text(id="samples")
    for reason in frame["reason"].dropna():
        assert reason in text
    assert text.count("–") >= 6 * 4


@pytest.mark.parametrize(
    "hostile",
    ["<script>window.hit = 1</script>", '"><img src=x onerror="window.hit=1">', "'-->]]></svg>&lt;"],
)
def test_text_of_the_data_is_inert(hostile: str) -> None:
    plain = render()
    frame = table().assign(**{f"my {hostile}": 1.0})
    frame.loc[0, ["smiles", "raw"]] = hostile
    frame.loc[8, "raw"] = hostile
    frame.loc[8, "reason"] = hostile
    found = {"asked": hostile, "mean": 1.0, "se": None, "training_mean": 2.0}
    page = render(
        frame,
        model=hostile,
        command=hostile,
        seed=hostile,
        rejects={hostile: 3},
        properties={f"my {hostile}": found, hostile: found},
        versions={hostile: hostile, "moldiff": hostile},
        setting={hostile: hostile},
        level=hostile,
        device=hostile,
        reference_rdkit=hostile,
        reference_matches_rdkit=False,
    )
    assert {tag for tag, *_ in page.found} == {tag for tag, *_ in plain.found}
    assert len(page.all("script")) == len(page.all("style")) == 1
    assert not [name for _, attributes, _ in page.found for name in attributes if name.startswith("on")]
    for part in ("made", "rejects", "samples", "targets"):
        assert hostile in page.text(id=part)
    assert hostile in page.all("title")[0][1]
    # What is marked valid and cannot be drawn has its place without a drawing.
    assert "cannot be drawn" in page.text(id="best") + page.text(id="typical")


def test_control_characters_and_long_strings_are_shown_short(tmp_path: Path) -> None:
    frame = table()
    frame.loc[8, "raw"] = "C\x00\x1b[31m\ud800"
    frame.loc[9, "raw"] = "C" * 5000
    report.write(frame, facts(), TRAINING, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text("utf-8")
    assert "C��[31m&#55296;" in text
    assert "C" * 160 + "…" in text
    assert "C" * 161 not in text


@pytest.mark.parametrize(
    "summary", [{}, {"requested": 0, "drawn": 0, "validity": None, "novelty": float("nan"), "novel": {}}]
)
@pytest.mark.parametrize("raw", [(), BAD, GOOD])
def test_little_is_enough_for_a_page(raw: tuple[str, ...], summary: dict[str, Any]) -> None:
    page = Page(report.render(table(raw), summary, {}))
    assert len(page.all("section")) == 7
    if raw != GOOD:
        assert "No sample is a sane molecule." in page.text(id="best")
    if not raw:
        assert "There is no value to show." in page.text(id="distributions")


def test_what_makes_figures_doubtful_is_said_first() -> None:
    page = render(
        interrupted=True,
        requested=99,
        nearest_rows_distance=0.83,
        reference_matches_rdkit=False,
        reference_rdkit="1",
    )
    notices = [text for attributes, text in page.all("p") if attributes.get("class") == "notice"]
    assert [text.split(" ")[1] for text in notices] == ["The", "No", "Novelty"]
    kept = [text for a, text in render(drawn=90, kept=14).all("p") if a.get("class") == "notice"]
    assert kept == ["Note. The figures count all 90 samples, of which 14 distinct sane ones were kept."]
    assert "14 of 99" in notices[0]
    assert "0.83 standard deviations" in notices[1]
    assert "requested 99 14 drawn" in page.text(id="summary")


def test_every_reason_has_a_meaning() -> None:
    assert set(report_facts.REASONS) == set(molecule.REASONS)


def test_the_same_input_gives_the_same_page() -> None:
    again = json.loads(json.dumps(facts())), dict(reversed(TRAINING.items()))
    assert report.render(table(), facts(), TRAINING) == report.render(table(), *again)


def test_a_large_table_stays_below_two_megabytes(tmp_path: Path) -> None:
    molecules = [molecule.canonical(f"CC(=O)N{'C' * n}c1ccc(OC{'F' * (n % 2)})cc1") for n in range(1, 30)]
    few = table(tuple(text for text in molecules if text))
    frame = pd.concat([few] * 70, ignore_index=True)[:2000]
    path = tmp_path / "report.html"
    report.write(frame, facts(requested=2000, drawn=2000), TRAINING, path)
    assert path.stat().st_size < 2e6
    page = Page(path.read_text("utf-8"))
    assert len(page.all("tr")) > 2000
    note = re.search(r"Only the first ([\d,]+) have a drawing", page.text(id="table"))
    assert note is not None
    drawn = [attributes for attributes, _ in page.all("svg") if attributes.get("class") == "mol"]
    assert len(drawn) == int(note[1].replace(",", "")) + 2 * report.SHOWN
    assert 100 < len(drawn) < 2000


@pytest.mark.parametrize("name", ["report.pdf", "report", "report.html.gz", ".html"])
def test_other_kinds_of_file_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(MoldiffError, match=r"unknown kind of report: got .*, choose from .html, .htm"):
        Molecules().check_report(tmp_path / name)
    with pytest.raises(MoldiffError, match="unknown kind of report"):
        Molecules().report(table(), facts(), TRAINING, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_report_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    modality = Molecules()
    modality.check_report(tmp_path / "REPORT.HTM")
    modality.report(table(), facts(), TRAINING, tmp_path / "report.html")
    written = (tmp_path / "report.html").read_text("utf-8")
    assert written == report.render(table(), facts(), TRAINING, modality.shown)
    with pytest.raises(MoldiffError, match="cannot write"):
        modality.report(table(), facts(), TRAINING, tmp_path / "absent" / "report.html")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
