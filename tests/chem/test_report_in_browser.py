"""The report in a real browser: it loads nothing, sorts, filters, and fits phone, desk and paper."""

import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from moldiff.chem import molecule, oracles, report

RAW = ("CCO", "c1ccccc1", "CC(=O)O", "C1CC", "C" * 9, "N#CC", "C[C@H](F)Cl", "CC(", "C1CC1", "CC.O")
NOVEL = ("C1CC1", "CC#N")
PROPERTIES = ("qed", "logp", "mw", "ring_count")
HOSTILE = "<img src=x onerror='window.hit=1'><script>window.hit = 1</script>"
PATIENCE = 180_000
"""How long the browser may take for anything, in milliseconds: the machine may be busy."""

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless browser; without one the tests fail where CI is true, and are skipped elsewhere."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for path in map(shutil.which, names) if path), None)
    if found is None:
        reason = f"no browser: none of {', '.join(names)} is on the path"
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=found, args=list(FLAGS), timeout=PATIENCE)
        yield running
        running.close()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report on a small table in which every text is hostile that can be."""
    checks = [molecule.check(text) for text in RAW]
    canonical = [check.canonical for check in checks]
    frame = pd.DataFrame(
        {
            "smiles": pd.Series(canonical, dtype=object),
            "raw": pd.Series([HOSTILE if text == "C1CC" else text for text in RAW], dtype=object),
            "valid": np.array([check.valid for check in checks], dtype=bool),
            "sane": np.array([check.sane for check in checks], dtype=bool),
            "reason": pd.Series([check.reason for check in checks], dtype=object),
            "novel": np.array([text in NOVEL for text in canonical], dtype=bool),
            **oracles.score(canonical, PROPERTIES),
        }
    )
    qed = {"asked": "0.4", "mean": 0.41, "se": 0.02, "mean_absolute_error": 0.03, "training_mean": 0.46}
    facts: dict[str, Any] = {
        "requested": 10,
        "drawn": 10,
        "rejects": {HOSTILE: 1, "branch": 1},
        "properties": {"qed": qed, HOSTILE: qed},
        "model": HOSTILE,
        "command": HOSTILE,
        "versions": {"moldiff": HOSTILE},
    }
    training = {"qed": np.linspace(0.1, 0.66, 50), "ring_count": np.arange(5.0)}
    out = tmp_path_factory.mktemp("report") / "report.html"
    report.write(frame, facts, training, out)
    return out


@pytest.fixture
def page(browser: Browser, path: Path) -> Iterator[Page]:
    """The report, open; afterwards nothing must have been asked for or complained of but the file itself."""
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    opened.set_default_timeout(PATIENCE)
    asked: list[str] = []
    said: list[str] = []
    opened.on("request", lambda request: asked.append(request.url))
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.goto(path.as_uri())
    yield opened
    assert opened.evaluate("window.hit") is None
    assert (asked, said) == ([path.as_uri()], [])
    opened.close()


def column(page: Page, name: str) -> list[str]:
    """What the rows on show have under a heading, in order."""
    heads = [text.strip() for text in page.locator("#samples thead th").all_inner_texts()]
    rows = page.locator("#samples tbody tr:visible")
    found: list[str] = rows.evaluate_all(
        "(rows, place) => rows.map((row) => row.cells[place].innerText)", heads.index(name)
    )
    return found


def numbers(page: Page, name: str) -> list[float]:
    return [math.nan if text == "–" else float(text) for text in column(page, name)]


def states(page: Page) -> dict[str, str]:
    """How the columns that are sorted are."""
    heads = page.locator("#samples thead th[aria-sort]:not([aria-sort=none])")
    return {head.inner_text().strip(): head.get_attribute("aria-sort") or "" for head in heads.all()}


@pytest.mark.parametrize("name", ["qed", "mw (g/mol)", "#"])
def test_a_click_sorts_numbers_as_numbers_with_the_missing_last(page: Page, name: str) -> None:
    before = numbers(page, name)
    known = sorted(value for value in before if not math.isnan(value))
    missing = len(before) - len(known)
    assert missing == (0 if name == "#" else 2)
    head = page.get_by_role("columnheader", name=name, exact=True).get_by_role("button")
    for state, expected in (("ascending", known), ("descending", known[::-1]), ("ascending", known)):
        head.click()
        assert states(page) == {name: state}
        after = numbers(page, name)
        assert after[: len(known)] == expected
        assert all(math.isnan(value) for value in after[len(known) :])
    # Rows move as a whole.
    assert sorted(column(page, "SMILES")) == sorted(
        [*filter(None, map(molecule.canonical, RAW)), HOSTILE, "CC("]
    )


def test_the_keyboard_sorts_too_and_text_as_text(page: Page) -> None:
    page.get_by_role("columnheader", name="qed", exact=True).get_by_role("button").click()
    page.get_by_role("columnheader", name="SMILES", exact=True).get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert states(page) == {"SMILES": "ascending"}
    texts = column(page, "SMILES")
    assert texts == sorted(texts, key=str.lower)
    page.keyboard.press("Space")
    assert states(page) == {"SMILES": "descending"}
    assert column(page, "SMILES") == texts[::-1]


def test_rows_are_chosen_by_text_and_by_state(page: Page) -> None:
    shown = page.get_by_role("status")
    assert shown.inner_text() == "10 rows"
    page.get_by_label("Show").select_option("reject")
    assert shown.inner_text() == "3 of 10 rows"
    assert set(column(page, "check")) == {"ring", "branch", "fragments"}
    page.get_by_label("Filter").fill("BRANCH")
    assert column(page, "SMILES") == ["CC("]
    page.get_by_label("Filter").fill("")
    page.get_by_label("Show").select_option("novel")
    assert sorted(column(page, "SMILES")) == sorted(NOVEL)
    page.get_by_role("columnheader", name="qed", exact=True).get_by_role("button").click()
    assert sorted(column(page, "SMILES")) == sorted(NOVEL)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280])
def test_the_page_fits_in_light_and_dark(page: Page, width: int, scheme: Any, tmp_path: Path) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    # No text of a chart leaves its frame.
    spilt = page.evaluate(
        """Array.from(document.querySelectorAll(".chart text")).filter((text) => {
            const [inner, outer] = [text, text.closest("figure")].map((each) => each.getBoundingClientRect());
            return inner.left < outer.left || inner.right > outer.right || inner.bottom > outer.bottom;
        }).map((text) => text.textContent)"""
    )
    assert [text for text in spilt if HOSTILE not in text] == []
    file = tmp_path / "page.png"
    page.screenshot(path=file, full_page=True)
    with Image.open(file) as image:
        assert image.width == width
        assert image.height > 2000
        grey = np.asarray(image.convert("L"))
    assert len(np.unique(grey)) > 100
    assert (np.median(grey) > 200) == (scheme == "light")


def test_on_paper_the_page_is_light_and_without_controls(page: Page) -> None:
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.get_by_label("Filter").is_visible()
    assert page.locator("#samples").is_visible()


def test_without_scripts_the_page_is_complete(browser: Browser, path: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(path.as_uri())
    assert page.locator("#samples tbody tr").count() == len(RAW)
    assert not page.get_by_label("Filter").is_visible()
    context.close()
