"""A study small enough for a test: two methods on the small model."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml


@pytest.fixture
def two_methods(tiny: Path, tmp_path: Path) -> Path:
    """A settings file with the methods plain, with steps, and single, without."""
    methods = {
        "plain": {"label": "Plain", "model": str(tiny), "sampler": "mdlm"},
        "single": {"model": str(tiny), "sampler": "first-hitting", "temperature": 0.8},
    }
    path = tmp_path / "two.yaml"
    path.write_text(yaml.safe_dump({"methods": methods}), "utf-8")
    return path
