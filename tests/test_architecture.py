"""The floors: reads every import and refuses arrows that run up, across or out of bounds."""

import ast
import itertools
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAX_LINES = 400

# Folder of the checkout -> the package it installs as.
PACKAGES = {
    "moldiff": "moldiff",
    "guidance": "moldiff.guidance",
    "data": "moldiff.data",
    "configs": "moldiff.configs",
}
# A module stands on the floor of its own row or, failing that, of its package's row.
MODULES = {
    "moldiff.types": 0,
    "moldiff.errors": 0,
    "moldiff.files": 0,
    "moldiff.items": 0,
    "moldiff.moments": 0,
    "moldiff.frames": 0,
    "moldiff.diffusion.categorical": 1,
    "moldiff.diffusion.schedule": 1,
    "moldiff.diffusion.remasking": 1,
    "moldiff.diffusion.random": 1,
    "moldiff.chem.molecule": 1,
    "moldiff.chem.pool": 1,
    "moldiff.chem.worker": 1,
    "moldiff.diffusion.particles": 1,
    "moldiff.diffusion.process": 2,
    "moldiff.diffusion.walk": 3,
    "moldiff.diffusion.events": 3,
    "moldiff.diffusion.presets": 3,
    "moldiff.diffusion.sampler": 3,
    "moldiff.diffusion.corrector": 3,
    "moldiff.diffusion.rewriting": 3,
    "moldiff.diffusion.reinforcement": 3,
    "moldiff.diffusion.self_correction": 3,
    "moldiff.diffusion.ordered": 3,
    "moldiff.diffusion.restriction": 3,
    "moldiff.diffusion.autoregressive": 3,
    "moldiff.diffusion.steering": 3,
    "moldiff.diffusion.objective": 3,
    "moldiff.diffusion.classification": 3,
    "moldiff.diffusion": 3,
    "moldiff.assembly": 5,
    "moldiff.conditions": 5,
    "moldiff.targets": 5,
    "moldiff.config": 5,
    "moldiff.checkpoint": 5,
    "moldiff.registry": 5,
    # They hand out the names of every floor, so no floor may import them.
    "moldiff": 10,
    "moldiff.__main__": 10,
}
SUBPACKAGES = {
    "moldiff.configs": 0,
    "moldiff.weights": 0,
    "moldiff.chem": 2,
    "moldiff.nn": 2,
    "moldiff.guidance": 4,
    "moldiff.data": 4,
    "moldiff.training": 6,
    "moldiff.generation": 6,
    "moldiff.evaluation": 7,
    "moldiff.study": 8,
    "moldiff.design": 8,
    "moldiff.benchmarks": 8,
    "moldiff.optimization": 8,
    "moldiff.cli": 9,
}
# Package -> the only things outside the standard library that it may import.
ONLY = {"moldiff.diffusion": ("torch", "moldiff.types", "moldiff.errors", "moldiff.diffusion")}
# Package -> what it may not import.
NEVER = {
    "moldiff.nn": ("rdkit", "lightning", "pandas"),
    "moldiff.chem": ("torch", "lightning"),
}
MAPPED = ("moldiff.guidance", "moldiff.data")
FREE_OF_MODALITY = ("moldiff.diffusion", "moldiff.nn")
# fmt: off
MODALITY = {
    "atom", "atoms", "bond", "bonds", "caption", "character", "characters", "chem", "image",
    "images", "mol", "molecule", "molecules", "mols", "pixel", "pixels", "qm9", "rdkit", "selfies",
    "sentence", "smiles", "string", "strings", "text", "texts", "zinc",
}
# fmt: on


@dataclass(frozen=True)
class Module:
    """One file: its installed name, where it lies and what it says."""

    name: str
    path: Path
    tree: ast.Module

    @property
    def package(self) -> str:
        return self.name if self.path.stem == "__init__" else self.name.rpartition(".")[0]


@dataclass(frozen=True)
class Arrow:
    """One import: who imports what, how it is written."""

    source: Module
    target: str
    line: int
    relative: bool

    def __str__(self) -> str:
        return f"{self.source.name}:{self.line} imports {self.target}"


def inside(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def floor(name: str) -> int | None:
    if name in MODULES:
        return MODULES[name]
    return next((level for package, level in SUBPACKAGES.items() if inside(name, package)), None)


def modules(root: Path) -> dict[str, Module]:
    found = {}
    for folder, package in PACKAGES.items():
        for path in sorted((root / folder).rglob("*.py")):
            parts = path.relative_to(root / folder).with_suffix("").parts
            name = ".".join((package, *parts)).removesuffix(".__init__")
            found[name] = Module(name, path, ast.parse(path.read_text("utf-8")))
    return found


def arrows(module: Module, names: set[str]) -> Iterator[Arrow]:
    """Every import of the file, in functions and under TYPE_CHECKING too."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Arrow(module, alias.name, node.lineno, False)
        elif isinstance(node, ast.ImportFrom):
            base = module.package.split(".")[: None if node.level < 2 else 1 - node.level]
            origin = ".".join(filter(None, [*(base if node.level else []), node.module]))
            for alias in node.names:
                full = f"{origin}.{alias.name}"
                if full == "moldiff.__version__":
                    continue  # a string constant, set before anything else is imported
                target = full if full in {*names, *MODULES, *SUBPACKAGES} else origin
                yield Arrow(module, target, node.lineno, node.level > 0)


def check_arrow(arrow: Arrow) -> Iterator[str]:
    """What is wrong with one import."""
    source, target = arrow.source.name, arrow.target
    for package, allowed in ONLY.items():
        own = target.partition(".")[0] in sys.stdlib_module_names
        if inside(source, package) and not own and not inside(target, *allowed):
            yield f"{arrow}: {package} may import {', '.join(allowed)} alone"
    for package, refused in NEVER.items():
        if inside(source, package) and inside(target, *refused):
            yield f"{arrow}: {package} never does"
    if target.partition(".")[0] in PACKAGES.keys() - {"moldiff"}:
        yield f"{arrow}: the installed name is moldiff.{target}"
    if inside(target, *MAPPED) and not inside(source, *MAPPED):
        yield f"{arrow}: name it in a table of the registry instead"
    for package in MAPPED:
        if inside(source, package) and inside(target, package) is not arrow.relative:
            yield f"{arrow}: in a mapped folder, siblings relatively and all else absolutely"
    high, low = floor(source), floor(target)
    if high is None or not inside(target, "moldiff"):
        return
    if low is None:
        yield f"{arrow}: the target stands on no floor"
    elif low > high:
        yield f"{arrow}: up from floor {high} to floor {low}"
    elif low == high and not inside(target, arrow.source.package):
        yield f"{arrow}: across floor {high} into another package"


def check_cycles(graph: dict[str, set[str]]) -> Iterator[str]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        yield "cycle: " + " -> ".join(reversed(error.args[1]))


def words(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """The lower-case words of every identifier, split at underscores and capitals."""
    for node in ast.walk(tree):
        for field in ("id", "attr", "name", "arg", "module", "asname"):
            value = getattr(node, field, None)
            if isinstance(value, str):
                for word in re.findall(r"[A-Z][A-Z0-9]*(?![a-z])|[A-Z]?[a-z0-9]+", value):
                    yield word.lower(), getattr(node, "lineno", 0)


def check_module(module: Module) -> Iterator[str]:
    """What is wrong with one file, its imports aside."""
    if floor(module.name) is None:
        yield f"{module.name} stands on no floor: give it a row in {Path(__file__).name}"
    if inside(module.name, *FREE_OF_MODALITY):
        for word, line in words(module.tree):
            if word in MODALITY:
                yield f"{module.name}:{line} names a modality: {word}"
    if not inside(module.name, "moldiff.registry", *MAPPED):
        for node in ast.walk(module.tree):
            text = node.value if isinstance(node, ast.Constant) else None
            if isinstance(text, str) and re.fullmatch(r"moldiff\.(guidance|data)\.[\w.:]+", text):
                yield f"{module.name}:{node.lineno} names {text} outside the registry"


def violations(root: Path) -> list[str]:
    """One line for each breach of the floors in the checkout at ``root``."""
    found = modules(root)
    names = set(found)
    lines = [line for module in found.values() for line in check_module(module)]
    graph: dict[str, set[str]] = {}
    for module in found.values():
        for arrow in arrows(module, names):
            lines += check_arrow(arrow)
            if arrow.target in names and arrow.target != module.name:
                graph.setdefault(module.name, set()).add(arrow.target)
    return lines + list(check_cycles(graph))


def unshipped(root: Path) -> list[str]:
    """The packages that hold a file and that pyproject.toml does not list."""
    table = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    return sorted({module.package for module in modules(root).values()} - set(table["packages"]))


def too_long(root: Path, folders: tuple[str, ...]) -> list[str]:
    files = itertools.chain.from_iterable((root / folder).rglob("*.py") for folder in folders)
    counts = ((path, len(path.read_text("utf-8").splitlines())) for path in files)
    return [f"{path.relative_to(root)}: {n} lines" for path, n in counts if n > MAX_LINES]


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return root


def test_imports_run_downwards():
    assert violations(ROOT) == []


def test_every_package_folder_is_shipped():
    assert unshipped(ROOT) == []


def test_files_are_short():
    assert too_long(ROOT, (*PACKAGES, "tests", "benchmarks", "examples")) == []


@pytest.mark.parametrize(
    "command", [["-c", "import moldiff; moldiff.__version__"], ["-m", "moldiff", "--help"]]
)
def test_start_is_light(command, tmp_path):
    run = subprocess.run(
        [sys.executable, "-X", "importtime", *command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    imported = {line.rpartition("|")[2].strip() for line in run.stderr.splitlines()}
    assert "moldiff" in imported
    assert imported.isdisjoint({"torch", "rdkit", "lightning", "pandas"})


@pytest.mark.parametrize("folder", ["guidance", "data"])
def test_mapped_folders_refuse_their_bare_name(folder):
    run = subprocess.run(
        [sys.executable, "-c", f"import {folder}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode != 0
    assert f"ImportError: this folder is the package moldiff.{folder}: run" in run.stderr


LEGAL = {
    "moldiff/__init__.py": "from moldiff.generation.model import generate",
    "moldiff/registry.py": "TABLE = {'cfg': 'moldiff.guidance.free:Free'}",
    "moldiff/generation/model.py": "from moldiff import __version__\nfrom moldiff.registry import TABLE",
    "moldiff/diffusion/__init__.py": "from moldiff.diffusion.sampler import Sampler",
    "moldiff/diffusion/sampler.py": "import math, torch\nfrom moldiff.diffusion import process",
    "moldiff/diffusion/process.py": "from moldiff.types import T\ncontext = 1",
    "moldiff/types.py": "",
    "moldiff/chem/metrics.py": "import rdkit\nfrom moldiff.chem.molecule import parse",
    "moldiff/chem/molecule.py": "from rdkit import Chem",
    "guidance/free.py": "from moldiff.diffusion import Sampler\nfrom .bound import bound",
    "guidance/bound.py": "",
}


def test_checker_accepts_a_legal_tree(tmp_path):
    assert violations(write(tmp_path, LEGAL)) == []


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("moldiff/types.py", "import ast, moldiff.config", "0 to floor 5"),
        ("moldiff/nn/net.py", "def f():\n from moldiff.diffusion import sampler", "2 to floor 3"),
        ("moldiff/chem/metrics.py", "from moldiff.generation.model import g", "2 to floor 6"),
        ("moldiff/config.py", "from moldiff import cli", "up from floor 5 to floor 9"),
        ("moldiff/config.py", "from moldiff import Sampler", "up from floor 5 to floor 10"),
        ("moldiff/nn/net.py", "from ..diffusion import process", "across floor 2"),
        ("moldiff/diffusion/process.py", "import rdkit", "may import torch, moldiff.types"),
        ("moldiff/diffusion/process.py", "import numpy as np", "may import torch, moldiff.types"),
        ("moldiff/diffusion/process.py", "import moldiff.chem.molecule", "may import torch"),
        ("moldiff/nn/net.py", "from lightning.pytorch import Trainer", "moldiff.nn never does"),
        ("moldiff/chem/metrics.py", "from torch import Tensor", "moldiff.chem never does"),
        ("moldiff/cli/app.py", "from moldiff.data import molecules", "table of the registry"),
        ("moldiff/cli/app.py", "x = 'moldiff.data.molecules:Molecules'", "outside the registry"),
        ("moldiff/training/fit.py", "import guidance", "the installed name is moldiff.guidance"),
        ("guidance/free.py", "from moldiff.data import text", "across floor 4"),
        ("guidance/free.py", "from moldiff.guidance.bound import bound", "siblings relatively"),
        ("guidance/free.py", "from ..types import T", "siblings relatively"),
        ("guidance/free.py", "from moldiff.training.fit import run", "up from floor 4 to floor 6"),
        ("guidance/bound.py", "from . import free", "cycle: "),
        ("moldiff/registry.py", "import moldiff.generation.model", "up from floor 5 to floor 6"),
        ("moldiff/diffusion/process.py", "def f(image_size): ...", "names a modality: image"),
        ("moldiff/nn/net.py", "class SmilesNet: ...", "names a modality: smiles"),
        ("moldiff/nn/net.py", "from a import b as QM9", "names a modality: qm9"),
        ("moldiff/shiny.py", "", "moldiff.shiny stands on no floor"),
        ("moldiff/config.py", "from moldiff.shiny import x", "the target stands on no floor"),
    ],
)
def test_checker_finds(file, text, message, tmp_path):
    found = violations(write(tmp_path, {**LEGAL, file: text}))
    assert any(message in line for line in found), found


def test_unshipped_and_long_files_are_found(tmp_path):
    write(
        tmp_path,
        {
            "moldiff/__init__.py": "",
            "moldiff/new/part.py": "x = 1\n" * (MAX_LINES + 1),
            "data/ok.py": "x = 1\n" * MAX_LINES,
            "pyproject.toml": "[tool.setuptools]\npackages = ['moldiff']",
        },
    )
    assert unshipped(tmp_path) == ["moldiff.data", "moldiff.new"]
    assert too_long(tmp_path, ("moldiff", "data")) == ["moldiff/new/part.py: 401 lines"]
