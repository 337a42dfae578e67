"""Models by their name on the hub: without a network, without the client, and from its cache."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

CALLS = """
import os, sys
from moldiff.cli.app import run

def call(name):
    code = run(["generate", f"hf:{name}", "-n", "2", "--steps", "2", "--out", "x.txt"])
    print(code, os.path.exists("x.txt"), flush=True)
"""


def alone(tmp_path: Path, code: str) -> subprocess.CompletedProcess[str]:
    """A process with a cache of its own and no network."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "cache")}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def cached(tmp_path: Path, repository: str, *files: Path) -> None:
    """Puts files where the hub's client keeps what it has downloaded."""
    place = tmp_path / "cache" / "hub" / f"models--{repository.replace('/', '--')}"
    commit = "0" * 40
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(commit, "utf-8")
    (place / "snapshots" / commit).mkdir(parents=True)
    for source in files:
        shutil.copy(source, place / "snapshots" / commit)


def test_without_a_network_one_line_says_so(tmp_path: Path, folder: Path) -> None:
    cached(tmp_path, "org/bare", folder / "config.json", folder / "model.safetensors")
    names = ["no-org/no-model", "no-org/no-model@v1", "gpt2", "org/bare"]
    found = alone(tmp_path, CALLS + f"for name in {names}: call(name)")
    assert found.stdout == "2 False\n" * 4, found.stderr
    lines = found.stderr.splitlines()
    assert len(lines) == 4
    for name, line in zip(names[:3], lines[:3], strict=True):
        assert f"model hf:{name}: {name} is not in the cache, and the hub cannot be reached" in line
    # The published repository has no tokenizer: GPT-2's is asked for.
    assert "model hf:org/bare: gpt2 is not in the cache, and the hub cannot be reached" in lines[3]


def test_what_was_downloaded_once_is_read_without_a_network(tmp_path: Path, folder: Path) -> None:
    cached(tmp_path, "org/bare", folder / "config.json", folder / "model.safetensors")
    cached(tmp_path, "gpt2", folder / "tokenizer.json")
    found = alone(tmp_path, CALLS + "call('org/bare')")
    assert found.stdout.splitlines()[-1] == "0 True", found.stderr
    assert (tmp_path / "x.txt").stat().st_size > 0


def test_without_the_extra_one_line_names_it_and_folders_are_read(tmp_path: Path, folder: Path) -> None:
    absent = "import sys; sys.modules['huggingface_hub'] = None\n"
    found = alone(tmp_path, absent + CALLS + f"call('org/name'); call({str(folder)!r})")
    lines = found.stdout.splitlines()
    assert (lines[0], lines[-1]) == ("2 False", "0 True"), found.stderr
    assert "pip install moldiff[hub]" in found.stderr.splitlines()[0]
