"""Readers, tokenizers and data sets, one modality a file; imported as `moldiff.data`."""

if not __name__.startswith("moldiff."):
    raise ImportError(
        "this folder is the package moldiff.data: run `pip install -e .` in the repository "
        "root and write `import moldiff.data`"
    )
