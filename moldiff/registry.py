"""Tables of names: what a configuration or a command line may ask for, as dotted strings."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from moldiff.errors import MoldiffError, unknown

MODALITIES = {
    "molecules": "moldiff.data.molecules:Molecules",
    "images": "moldiff.data.images:Images",
    "text": "moldiff.data.text:Texts",
}

#: Apart from the modalities, because training needs a tokenizer but none of what else a modality imports.
TOKENIZERS = {
    "smiles": "moldiff.data.smiles:SmilesTokenizer",
    "selfies": "moldiff.data.selfies:SelfiesTokenizer",
    "characters": "moldiff.data.characters:CharacterTokenizer",
    "bpe": "moldiff.data.bpe:BytePairTokenizer",
    "pixels": "moldiff.data.pixels:PixelTokenizer",
    "patches": "moldiff.data.patches:PatchTokenizer",
}

#: By modality, its tokenizers; the first where none is named, in a configuration or in a file older
#: than the names.
TOKENIZERS_OF = {
    "molecules": ("smiles", "selfies"),
    "images": ("pixels", "patches"),
    "text": ("characters", "bpe"),
}

SCHEDULES = {
    "loglinear": "moldiff.diffusion.schedule:LogLinear",
    "cosine": "moldiff.diffusion.schedule:Cosine",
    "polynomial": "moldiff.diffusion.schedule:Polynomial",
}

PROCESSES = {
    "masked": "moldiff.diffusion.process:Masked",
    "uniform": "moldiff.diffusion.process:Uniform",
    "autoregressive": "moldiff.diffusion.autoregressive:Autoregressive",
}

#: By process, what its model is trained with, and what says how likely it finds a row.
OBJECTIVES = {
    "masked": "moldiff.diffusion.objective:DiffusionObjective",
    "uniform": "moldiff.diffusion.objective:DiffusionObjective",
    "autoregressive": "moldiff.diffusion.autoregressive:NextToken",
}

CONDITION_DROPOUTS = {
    "keep-count": "moldiff.guidance.training:KeepCount",
    "drop-all": "moldiff.guidance.training:DropAll",
    "keep-one": "moldiff.guidance.training:KeepOne",
}

_PRESETS = "moldiff.diffusion.presets:"
SAMPLERS = {
    "mdlm": _PRESETS + "mdlm",
    # The same under a name that fits any noise.
    "ancestral": _PRESETS + "mdlm",
    "remdm-cap": _PRESETS + "remdm_cap",
    "remdm-rescale": _PRESETS + "remdm_rescale",
    "remdm-conf": _PRESETS + "remdm_conf",
    "remdm-switch": _PRESETS + "remdm_switch",
    "remdm-loop": _PRESETS + "remdm_loop",
    "remdm-loop-literal": _PRESETS + "remdm_loop_literal",
    "remdm-loop-cap": _PRESETS + "remdm_loop_cap",
    "forward-backward": _PRESETS + "forward_backward",
    "dfm": _PRESETS + "dfm",
    "proseco": _PRESETS + "proseco",
    "remdm-proseco": _PRESETS + "remdm_proseco",
    "self-correct": _PRESETS + "self_correct",
    "first-hitting": _PRESETS + "first_hitting",
    "adaptive-order": _PRESETS + "adaptive_order",
    "margin-order": _PRESETS + "margin_order",
    "confidence-order": _PRESETS + "confidence_order",
    "entropy-order": _PRESETS + "entropy_order",
    "entropy-bound": _PRESETS + "entropy_bound",
    "autoregressive": _PRESETS + "autoregressive",
}

#: By process, its sampler where a training configuration names none.
DEFAULT_SAMPLERS = {"masked": "mdlm", "uniform": "ancestral", "autoregressive": "autoregressive"}

GUIDANCES = {
    "cfg": "moldiff.guidance.classifier_free:ClassifierFree",
    "completable": "moldiff.guidance.completable:Completable",
    "fudge": "moldiff.guidance.fudge:Fudge",
    "cbg-token": "moldiff.guidance.classifier_based:TokenChoice",
    "cbg-exact": "moldiff.guidance.classifier_based:Exact",
    "cbg-first-order": "moldiff.guidance.classifier_based:FirstOrder",
}

#: By modality, what `moldiff evaluate` runs on a file of its items.
EVALUATIONS = {
    "images": "moldiff.data.image_figures:evaluate",
    "text": "moldiff.data.text_figures:evaluate",
}

#: By modality, the bundled model that says how likely it finds what is evaluated.
JUDGES = {"text": "text-judge"}

#: By prefix of a model's name, what loads one that was not made here.
SOURCES = {"hf": "moldiff.generation.pretrained:load"}

DATA = {
    "token-file": "moldiff.data.datasets:TokenFile",
    "token-module": "moldiff.data.datamodule:TokenDataModule",
    "catalogue": "moldiff.data.sets:catalogue",
    "fetch": "moldiff.data.sets:fetch",
}

TABLES: Mapping[str, Mapping[str, str]] = {
    "modality": MODALITIES,
    "tokenizer": TOKENIZERS,
    "schedule": SCHEDULES,
    "process": PROCESSES,
    "objective": OBJECTIVES,
    "condition dropout": CONDITION_DROPOUTS,
    "sampler": SAMPLERS,
    "guidance": GUIDANCES,
    "evaluation": EVALUATIONS,
    "source": SOURCES,
    "data": DATA,
}


def resolve(table: str, name: str) -> Any:
    """The object that a row of a table names; MoldiffError lists the rows for an unknown name."""
    rows = TABLES[table]
    if name not in rows:
        raise unknown(table, name, rows)
    module, _, attribute = rows[name].partition(":")
    return getattr(import_module(module), attribute)


def name_of(table: str, thing: object) -> str:
    """The row that names the class of an object; the class's own name where none does."""
    kind = type(thing)
    rows = TABLES[table].items()
    return next(
        (name for name, row in rows if row == f"{kind.__module__}:{kind.__qualname__}"), kind.__name__
    )


def tokenizer_name(modality: str, name: object) -> str:
    """The name of a tokenizer, the modality's own where None is given; MoldiffError where there is none."""
    if modality not in TOKENIZERS_OF:
        raise unknown("modality", modality, TOKENIZERS_OF)
    choices = TOKENIZERS_OF[modality]
    found = choices[0] if name is None else str(name)
    if found not in choices:
        raise unknown("tokenizer", found, choices)
    return found


def build(table: str, name: str, /, *fixed: Any, **options: Any) -> Any:
    """What a row builds with ``fixed`` and ``options``; MoldiffError where it does not take the options."""
    factory = resolve(table, name)
    takes = list(inspect.signature(factory).parameters)[len(fixed) :]
    for option in options:
        if option not in takes:
            listed = ", ".join(takes) or "none"
            raise MoldiffError(f"{table} {name}: got option {option!r}, it takes {listed}")
    return factory(*fixed, **options)
