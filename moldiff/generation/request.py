"""Requests: what one call of ``generate`` asks for."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack, final, get_args

from pydantic import ValidationError

from moldiff.chem.worker import check_workers
from moldiff.config import Setting, explain
from moldiff.diffusion.process import Level
from moldiff.errors import MoldiffError, unknown
from moldiff.generation.plan import TargetFile, read_targets
from moldiff.generation.repair import check_rounds
from moldiff.generation.search import Search, searched
from moldiff.types import Given, Template

PRECISIONS = ("auto", "bf16", "fp32")
GuidanceName = Literal["cfg", "cbg", "fudge"]
CbgForm = Literal["token", "exact", "first-order"]
#: By option of ``Guide``: how it is called, and the guidances that take it.
_GUIDE_OPTIONS: dict[str, tuple[str, tuple[GuidanceName, ...]]] = {
    "classifier": ("classifier", ("cbg", "fudge")),
    "form": ("cbg form", ("cbg",)),
    "top_p": ("cbg top-p", ("cbg",)),
    "top_k": ("fudge top-k", ("fudge",)),
    "cfg_scale": ("cfg scale", ("cbg", "fudge")),
}
#: For distinct samples, how many are drawn at most for each that is wanted.
DRAWS = 20
#: The most that is counted: the number of every row is a 64-bit integer.
MOST = 10**15


@final
@dataclass(frozen=True)
class Guide:
    """Which guidance pushes rows towards their targets; what is None is the model's own.

    Args:
        name: ``cfg``, classifier-free; ``cbg``, by a classifier of noisy rows that knows the targets; or
            ``fudge``, by one of unfinished rows, for autoregressive models.
        classifier: of cbg and fudge: the folder or bundled name of one, or one that is loaded.
        form: of cbg: ``token`` weighs which token is drawn, ``exact`` and ``first-order`` the next state.
        top_p: of cbg's token form: the mass of the tokens that the classifier is asked about; 1 for all.
        top_k: of fudge: how many tokens the classifier is asked about; None for all.
        cfg_scale: beside a classifier, the scale at which the network itself is told the targets; 0 does not
            tell it.
    """

    name: GuidanceName | None = None
    classifier: Any = None
    form: CbgForm | None = None
    top_p: float | None = None
    top_k: int | None = None
    cfg_scale: float | None = None

    def __post_init__(self) -> None:
        """Refuse what does not go together."""
        if self.name not in (None, *get_args(GuidanceName)):
            raise unknown("guidance", self.name, get_args(GuidanceName))
        for option, (what, takers) in _GUIDE_OPTIONS.items():
            got = getattr(self, option)
            if got is not None and self.name not in takers:
                raise MoldiffError(f"{what}: got {got}, it goes with guidance {' or '.join(takers)} only")
        if self.top_k is not None and self.top_k < 1:
            raise MoldiffError(f"fudge top-k: got {self.top_k}, must be at least 1")
        if self.form not in (None, *get_args(CbgForm)):
            raise unknown("cbg form", self.form, get_args(CbgForm))
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise MoldiffError(f"cbg top-p: got {self.top_p}, must be in (0, 1]")
        if self.top_p not in (None, 1) and self.form not in (None, "token"):
            raise MoldiffError(f"cbg top-p: got {self.top_p}, it goes with the form token only")
        if self.cfg_scale is not None and not 0 <= self.cfg_scale < math.inf:
            raise MoldiffError(f"cfg scale: got {self.cfg_scale}, must be 0 or more and finite")


@final
@dataclass(frozen=True)
class Request:
    """What is asked of one call: how many rows, of which properties, by which sampler.

    None takes the model's own setting. ``options`` are the sampler's own, such as eta. ``precision`` is bf16,
    fp32, or auto for what the device is good at; the samples of two precisions differ.

    ``targets_from`` asks by the lines of a file instead of ``targets``; n is then the rows it asks for. With
    ``unique``, n is the number of distinct sane samples wanted, drawn until they are found or ``max_samples``
    are drawn, by default ``DRAWS`` n. ``oracles`` are asked about every sample, each for at most
    ``oracle_timeout`` seconds. ``workers`` processes share the scoring. With ``search``, each row is the one
    that it keeps. ``guide`` is the guidance that ``scale`` is of. ``repair`` draws what is no item again, in
    part, up to so many times. ``given`` is in every row. With ``templates`` row i has the length of
    the i-th and keeps its tokens, and n is their number; a row that ends itself may be shorter, or longer too
    where the last place of its template is open.

    What passes not all of ``filters``, names and bounds such as sa<=4, or shows a pattern of the file
    ``filter_smarts``, keeps its row but counts as not sane does: ``unique``, pictures and ``diverse`` pass it
    over. ``forbid`` names tokens that are never drawn. ``diverse`` rows far from one another are picked.
    """

    n: int
    targets: tuple[str, ...] = ()
    sampler: str | None = None
    steps: int | None = None
    scale: float | None = None
    temperature: float | None = None
    top_p: float | None = None
    nucleus: Literal["standard", "inclusive"] | None = None
    complete: bool | None = None
    level: Level | None = None
    precision: str = "auto"
    options: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    batch_size: int | None = None
    targets_from: TargetFile | None = None
    unique: bool = False
    max_samples: int | None = None
    oracles: tuple[str, ...] = ()
    oracle_timeout: float | None = None
    workers: int = 1
    search: Search | None = None
    guide: Guide = field(default_factory=Guide)
    repair: int = 0
    given: Given = field(default_factory=Given)
    templates: tuple[Template, ...] = ()
    filters: tuple[str, ...] = ()
    filter_smarts: Path | None = None
    forbid: tuple[str, ...] = ()
    diverse: int | None = None

    def __post_init__(self) -> None:
        """Refuse counts below 1, and what is no count."""
        counts: dict[str, Any] = {
            "n": self.n,
            "batch size": 1 if self.batch_size is None else self.batch_size,
            "max samples": 1 if self.max_samples is None else self.max_samples,
            "workers": self.workers,
            "diverse": 1 if self.diverse is None else self.diverse,
        }
        for name, count in counts.items():
            if not isinstance(count, int) or count < 1:
                raise MoldiffError(f"{name}: got {count!r}, must be a whole number of at least 1")
            if count > MOST:
                raise MoldiffError(f"{name}: got {count}, must be at most {MOST:,}")
        check_workers(self.workers)
        check_rounds(self.repair)
        if self.repair and self.search is not None:
            raise MoldiffError(f"repair: got {self.repair} with best-of or particles; leave one off")
        if not isinstance(self.seed, int):
            raise MoldiffError(f"seed: got {self.seed!r}, must be a whole number")
        if self.scale is not None and not self.asks:
            raise MoldiffError(f"scale: got {self.scale} but no target; name one, for example qed=0.6")
        if self.guide.name not in (None, "cfg") and not self.asks:
            raise MoldiffError(
                f"guidance {self.guide.name}: got no target; name what it knows, as in ring_count=high"
            )
        self._check_selection()
        if self.precision not in PRECISIONS:
            raise unknown("precision", self.precision, PRECISIONS)

    def _check_selection(self) -> None:
        """Refuse ways of asking that do not go together."""
        limit = self.oracle_timeout
        if limit is not None and not (self.oracles or self.search):
            raise MoldiffError(f"oracle timeout: got {limit:g} but no oracle; name one, for example np_score")
        if limit is not None and not 0 < limit < math.inf:
            raise MoldiffError(f"oracle timeout: got {limit:g}, needs seconds above 0")
        if self.max_samples is not None and not self.unique:
            raise MoldiffError(f"max samples: got {self.max_samples}, it goes with unique only")
        if self.diverse is not None and self.diverse > self.n:
            raise MoldiffError(f"diverse: got {self.diverse}, must be at most n, {self.n}")
        if self.max_samples is not None and self.max_samples < self.n:
            raise MoldiffError(f"max samples: got {self.max_samples}, must be at least n, {self.n}")
        if self.templates and (self.n != len(self.templates) or self.unique or self.given != Given()):
            got = f"got {len(self.templates)} for n {self.n}"
            raise MoldiffError(f"templates: {got}, needs one a row, and neither unique nor a prompt")
        if self.targets_from is None:
            return
        for name, given in {"targets": self.targets, "unique": self.unique}.items():
            if given:
                raise MoldiffError(f"targets from {self.targets_from.path}: got {name} too; leave one off")
        if self.n != self.targets_from.rows:
            raise MoldiffError(
                f"n: got {self.n}, but {self.targets_from.path} asks for {self.targets_from.rows} rows; "
                "leave n off"
            )

    @property
    def asks(self) -> bool:
        """Whether anything is asked of the samples."""
        return bool(self.targets) or self.targets_from is not None

    @property
    def draws(self) -> int:
        """How many samples are drawn, at most."""
        if not self.unique:
            return self.n
        return DRAWS * self.n if self.max_samples is None else self.max_samples

    def identity(self) -> dict[str, Any]:
        """What fixes the samples, the setting aside; JSON."""
        return {"targets": list(self.targets), **self.facts()}

    def facts(self) -> dict[str, Any]:
        """What a summary says of the ways of asking that are not always there; JSON."""
        found: dict[str, Any] = {}
        if self.unique:
            found["distinct_only"], found["max_samples"] = True, self.draws
        if self.targets_from is not None:
            found["targets_from"] = self.targets_from.facts()
        if self.oracles:
            found["oracles"] = list(self.oracles)
        if self.search is not None:
            found["search"] = self.search.facts()
        if self.repair:
            found["repair"] = self.repair
        if self.templates:
            found["templates"] = hashlib.sha256(repr(self.templates).encode()).hexdigest()
        if self.forbid:
            found["forbid"] = list(self.forbid)
        if self.given != Given():
            found["given"] = {
                name: str(each) for name, each in asdict(self.given).items() if each is not None
            }
        return found

    def setting(self, default: Setting) -> Setting:
        """The full setting: what is asked, and the model's own for the rest.

        A sampler's own options belong to it, so the default's are kept only with the default sampler.
        """
        asked = {
            name: getattr(self, name)
            for name in ("sampler", "steps", "temperature", "top_p", "nucleus", "scale", "complete")
            if getattr(self, name) is not None
        }
        if not self.asks:
            asked["scale"] = 1.0  # nothing is asked, so there is nothing to sharpen
        elif self.guide.name not in (None, "cfg"):
            asked.setdefault("scale", 1.0)  # the model's own is of classifier-free guidance
        inherit = self.sampler in (None, default.sampler)
        options = {**default.options, **self.options} if inherit else self.options
        try:
            return Setting.model_validate({**default.model_dump(), **asked, "options": options})
        except ValidationError as error:
            raise MoldiffError(explain(error)) from None


class Asked(TypedDict, total=False):
    """The keywords of ``Model.generate``."""

    targets: str | Sequence[str] | Mapping[str, Any]
    targets_from: str | Path | None
    per_target: int | None
    unique: bool
    max_samples: int | None
    sampler: str | None
    steps: int | None
    scale: float | None
    eta: float
    temperature: float | None
    top_p: float | None
    nucleus: Literal["standard", "inclusive"] | None
    complete: bool | None
    level: Level | None
    precision: str
    options: Mapping[str, Any]
    seed: int
    batch_size: int | None
    oracles: str | Sequence[str]
    oracle_timeout: float | None
    workers: int
    best_of: int | None
    particles: int | None
    reward: str | Sequence[str]
    tilt: float | None
    search_options: Mapping[str, Any]
    guidance: GuidanceName | None
    classifier: Any
    cbg_form: CbgForm | None
    cbg_top_p: float | None
    fudge_top_k: int | None
    cfg_scale: float | None
    repair: int
    prompt: str | None
    ending: str | None
    inpaint: str | Path | None
    mask: str | Path | None
    templates: Sequence[Sequence[int | None]]
    filters: str | Sequence[str]
    filter_smarts: str | Path | None
    max_sa: float | None
    min_qed: float | None
    forbid: str | Sequence[str]
    diverse: int | None


def asked_for(n: int | None, **asked: Unpack[Asked]) -> Request:
    """The request that the keywords of ``Model.generate`` spell."""
    for name in asked:
        if name not in Asked.__annotations__:
            raise unknown("option of generate", name, Asked.__annotations__)
    rest: dict[str, Any] = dict(asked)
    options = {**rest.pop("options", {})}
    if "eta" in rest:
        options["eta"] = rest.pop("eta")
    targets = spelt_targets(rest.pop("targets", ()))
    if "oracles" in rest:
        given = rest["oracles"]
        rest["oracles"] = (given,) if isinstance(given, str) else tuple(given)
    named = ("best_of", "particles", "reward", "tilt", "search_options")
    rest["search"] = searched(**{name: rest.pop(name) for name in named if name in rest})
    rest["guide"] = _guide(rest)
    rest["given"] = _given(rest)
    rest["templates"] = tuple(tuple(each) for each in rest.pop("templates", ()))
    rest |= _selected(rest)
    file, per_target = rest.pop("targets_from", None), rest.pop("per_target", None)
    if file is not None:
        rest["targets_from"] = read_targets(Path(file), 1 if per_target is None else per_target)
        n = rest["targets_from"].rows if n is None else n
    elif per_target is not None:
        raise MoldiffError(f"per target: got {per_target}, it goes with targets from a file only")
    if n is None and rest["templates"]:
        n = len(rest["templates"])
    if n is None:
        raise MoldiffError("n: got nothing, must be a whole number of at least 1")
    return Request(n, targets, options=options, **rest)


def _guide(rest: dict[str, Any]) -> Guide:
    """The guidance that keywords spell; they are taken out of ``rest``."""
    names = {"guidance": "name", "classifier": "classifier", "cbg_form": "form", "cbg_top_p": "top_p"}
    names |= {"fudge_top_k": "top_k", "cfg_scale": "cfg_scale"}
    given = {ours: rest.pop(theirs, None) for theirs, ours in names.items()}
    return Guide(**{name: value for name, value in given.items() if value is not None})


def _given(rest: dict[str, Any]) -> Given:
    """What keywords say is in every row; they are taken out of ``rest``."""
    # An empty one asks for nothing.
    prompt, ending = rest.pop("prompt", None) or None, rest.pop("ending", None) or None
    picture, mask = (rest.pop(name, None) for name in ("inpaint", "mask"))
    if (picture is None) != (mask is None):
        raise MoldiffError("inpaint: got a picture or a mask without the other, give both")
    files = (None if each is None else Path(each) for each in (picture, mask))
    return Given(prompt, ending, *files)


def _selected(rest: dict[str, Any]) -> dict[str, Any]:
    """What keywords say of which rows are wanted; they are taken out of ``rest``."""
    filters, forbid = (
        (given,) if isinstance(given, str) else tuple(given)
        for given in (rest.pop(name, None) or () for name in ("filters", "forbid"))
    )
    for name, bound in {"max_sa": "sa<=", "min_qed": "qed>="}.items():
        limit = rest.pop(name, None)
        filters += () if limit is None else (f"{bound}{limit}",)
    names = tuple(name.strip() for text in forbid for name in text.split(","))
    patterns = rest.pop("filter_smarts", None)
    path = None if patterns is None else Path(patterns)
    return {"filters": filters, "forbid": names, "filter_smarts": path}


def spelt_targets(asked: str | Sequence[str] | Mapping[str, Any]) -> tuple[str, ...]:
    """Targets as ``name=value``, however they were given."""
    if isinstance(asked, str):
        return (asked,)
    if isinstance(asked, Mapping):
        return tuple(f"{name}={_spell(value)}" for name, value in asked.items())
    return tuple(asked)


def _spell(value: object) -> str:
    if isinstance(value, tuple | list) and len(value) == 2:
        return f"{value[0]}..{value[1]}"
    return str(value)
