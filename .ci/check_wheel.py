"""Checks which files a built wheel holds: nothing at top level but moldiff, and all of moldiff."""

import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Folder of the checkout -> its place in the wheel.
FOLDERS = {
    "moldiff": "moldiff",
    "guidance": "moldiff/guidance",
    "data": "moldiff/data",
    "configs": "moldiff/configs",
}
PATTERNS = ("*.py", "*.yaml", "*.safetensors", "*.json", "*.j2", "*.css", "*.csv", "*.js", "py.typed")


def expected() -> set[str]:
    """The wheel's paths of every file in the checkout that has to be installed."""
    return {
        f"{place}/{path.relative_to(ROOT / folder).as_posix()}"
        for folder, place in FOLDERS.items()
        for pattern in PATTERNS
        for path in (ROOT / folder).rglob(pattern)
    }


def problems(names: set[str]) -> list[str]:
    """One line for each file that is missing from the wheel or has no business in it."""
    held = {name for name in names if ".dist-info/" not in name}
    wanted = expected()
    return [f"missing: {name}" for name in sorted(wanted - held)] + [
        f"unexpected: {name}" for name in sorted(held - wanted)
    ]


def main() -> None:
    """Exit with the list of problems, or print the number of files."""
    with zipfile.ZipFile(sys.argv[1]) as wheel:
        names = set(wheel.namelist())
    if not any(name.endswith(".dist-info/licenses/LICENSE") for name in names):
        sys.exit("the wheel lacks the licence")
    if found := problems(names):
        sys.exit("\n".join(found))
    print(f"{len(names)} files, as the checkout has them")


if __name__ == "__main__":
    main()
