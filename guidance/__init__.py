"""Guidance methods, one paper a file; installed and imported as `moldiff.guidance`."""

if not __name__.startswith("moldiff."):
    raise ImportError(
        "this folder is the package moldiff.guidance: run `pip install -e .` in the repository "
        "root and write `import moldiff.guidance`"
    )
