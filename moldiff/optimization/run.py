"""Runs of optimisation: several methods and seeds from the same start sets, with one memory of the oracle."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, final

from moldiff import __version__, registry
from moldiff.chem.molecule import rdkit_version
from moldiff.errors import MoldiffError, unknown
from moldiff.files import check_source, write_json, written
from moldiff.generation.journal import differences
from moldiff.optimization import results
from moldiff.optimization.address import address
from moldiff.optimization.calls import NAME, Journal, known_calls
from moldiff.optimization.loop import Ending, Judge, Search
from moldiff.optimization.objective import Objective
from moldiff.optimization.proposer import Genetic, Proposer

#: The model that is asked where none is named.
MODEL = "zinc250k"
#: Molecules that a search starts from, as in PMO's genetic algorithm.
START = 120

#: Hears of a search: its method, its seed, and the worths of all its calls.
Tell = Callable[[str, int, Sequence[float]], None]


def _silent(method: str, seed: int, worths: Sequence[float]) -> None:
    """Tells no one."""


@final
@dataclass(frozen=True)
class Options:
    """What is searched, how, and where to.

    Args:
        oracle: what names an oracle, or a goal file.
        out: the folder of everything that is written.
        budget: distinct sane molecules that each search may ask about.
        methods: names in `METHODS`.
        seeds: of the searches.
        start: a file of molecules to start from; None for samples of the model.
        start_size: how many molecules a search starts from, at most.
        model: of the method moldiff, and of the start.
        targets: what the model is asked for in the proposals of the method moldiff.
        top: how many of the best molecules have a table of their own.
        workers: processes that share the oracle's work.
        timeout: seconds that an oracle may spend on a molecule; None for no limit.
        device: of the model.
        resume: whether to go on with what is in ``out``.
        starts: the folder of the start sets, which several runs may share; ``out`` where None.
    """

    oracle: str
    out: Path
    budget: int = 10_000
    methods: tuple[str, ...] = ("moldiff", "ga")
    seeds: tuple[int, ...] = (0,)
    start: Path | None = None
    start_size: int = START
    model: str = MODEL
    targets: tuple[str, ...] = ()
    top: int = 100
    workers: int = 1
    timeout: float | None = None
    device: str = "auto"
    resume: bool = False
    starts: Path | None = None

    def __post_init__(self) -> None:
        """Refuse counts below 1, and methods and seeds that there are not."""
        for name in ("budget", "start_size", "top"):
            if getattr(self, name) < 1:
                raise MoldiffError(f"{name.replace('_', ' ')}: got {getattr(self, name)}, must be at least 1")
        for method in self.methods:
            if method not in METHODS:
                raise unknown("method", method, METHODS)
        if self.targets and "moldiff" not in self.methods:
            raise MoldiffError(f"target: got {', '.join(self.targets)}, it goes with the method moldiff only")
        for name in ("methods", "seeds"):
            if not getattr(self, name) or len(set(getattr(self, name))) < len(getattr(self, name)):
                raise MoldiffError(f"{name}: got {getattr(self, name)}, name each once, and at least one")

    def identity(self) -> dict[str, Any]:
        """What fixes the start sets; JSON."""
        if self.start is None:
            return {"start_model": _sha256(self.model), "start_size": self.start_size}
        check_source(self.start)
        try:
            digest = hashlib.sha256(self.start.read_bytes()).hexdigest()
        except OSError as error:
            raise MoldiffError(f"cannot read {self.start}: {error.strerror or error}") from None
        return {"start_file": digest, "start_size": self.start_size}


@final
class Models:
    """The model of a run, loaded when it is first needed."""

    def __init__(self, name: str, device: str) -> None:
        self._name, self._device = name, device
        self._model: Any = None

    def __call__(self) -> Any:
        """The model; MoldiffError where there is none, or none of molecules."""
        if self._model is None:
            from moldiff.generation.model import load

            model = load(self._name, self._device)
            if model.modality.name != "molecules":
                raise MoldiffError(f"model {self._name}: it makes {model.modality.name}, not molecules")
            self._model = model
        return self._model


def _genetic(options: Options, models: Models) -> Proposer:
    return Genetic()


def _remasking(options: Options, models: Models) -> Proposer:
    # Deferred: it needs torch.
    from moldiff.checkpoint import versions
    from moldiff.optimization.remasking import Remasking, check_targets

    if options.targets:
        check_targets(models(), options.targets)
    facts = (("model", _sha256(options.model)), ("torch", versions()["torch"]))
    return Remasking(models, facts, targets=options.targets)


#: By name, what makes a method's proposer.
METHODS: dict[str, Callable[[Options, Models], Proposer]] = {"moldiff": _remasking, "ga": _genetic}


@final
@dataclass
class Runs:
    """The searches of one call.

    Args:
        options: what is asked.
        command: what the summary says of where it came from.
        tell: hears of new calls.
        models: gives the model; several runs may share it.
    """

    options: Options
    command: str = ""
    tell: Tell = _silent
    models: Models | None = None

    def __post_init__(self) -> None:
        """Find the model that nobody gave."""
        self._models = self.models or Models(self.options.model, self.options.device)

    def run(self) -> dict[str, Any]:
        """The summary, after every search has ended and everything is written.

        Raises:
            MoldiffError: an oracle, a model or a start that cannot be had, a folder with another run's calls,
                or files that cannot be written.
        """
        options = self.options
        _check_folder(options)
        found: dict[str, dict[int, Ending]] = {method: {} for method in options.methods}
        with Objective(options.oracle, options.workers, options.timeout) as objective:
            # Before anything is drawn: what cannot be had is said at once.
            proposers = {name: METHODS[name](options, self._models) for name in options.methods}
            judged = {**objective.identity(), "versions": _versions()}
            names, judge = objective.names, Judge(objective, known_calls(options.out, judged))
            for seed in options.seeds:
                start = self._start(seed)
                for method, proposer in proposers.items():
                    identity = self._identity(objective, method, proposer, seed)
                    folder = options.out / f"{method}-{seed}"
                    with Journal(folder / NAME, identity, resume=options.resume) as journal:
                        told = _for(self.tell, method, seed)
                        search = Search(proposer, judge, journal, options.budget, seed, told)
                        ending = found[method][seed] = search.run(start)
                        facts = {**results.summarised(ending, options.budget), "budget": options.budget}
                        results.save(folder, ending, names, options.top, {**facts, **identity})
        return self._publish(found)

    def _identity(self, objective: Objective, method: str, proposer: Proposer, seed: int) -> dict[str, Any]:
        """What fixes the calls of a search."""
        return {
            "method": method,
            "seed": seed,
            **objective.identity(),
            "settings": proposer.identity(),
            **self.options.identity(),
            "versions": _versions(),
        }

    def _start(self, seed: int) -> list[str]:
        """The molecules that a seed's searches start from, the same for all methods."""
        folder = self.options.starts or self.options.out
        _check_starts(folder / "start.json", self.options.identity())
        path = folder / f"start-{seed}.smi"
        if path.exists():
            return path.read_text("utf-8").split()
        size = self.options.start_size
        if self.options.start is not None:
            molecules = _of_file(self.options.start, size, seed)
        else:
            drawn = self._models().generate(size, seed=address(seed, "start"), unique=True)
            molecules = [str(each) for each in drawn.to_pandas()["smiles"]]
        if not molecules:
            raise MoldiffError(f"start: {self.options.start or self.options.model} gave no sane molecule")
        with written(path) as part:
            part.write_text("".join(f"{each}\n" for each in molecules), encoding="utf-8")
        return molecules

    def _publish(self, found: dict[str, dict[int, Ending]]) -> dict[str, Any]:
        """Writes the summary of all searches and their curves."""
        options = self.options
        runs = {
            method: [[call.worth.value for call in ending.calls] for ending in seeds.values()]
            for method, seeds in found.items()
        }
        results.save_curves(options.out / results.CURVE, runs, options.budget, Path(options.oracle).name)
        by_seed = {
            method: {str(seed): results.summarised(ending, options.budget) for seed, ending in seeds.items()}
            for method, seeds in found.items()
        }
        means = {
            method: {
                name: results.mean_and_error([float(each[name]) for each in seeds.values()])
                for name in ("auc_top_10", "top_1", "top_10", "top_100", "calls")
            }
            for method, seeds in by_seed.items()
        }
        facts = {
            "oracle": options.oracle,
            "budget": options.budget,
            "seeds": list(options.seeds),
            "methods": means,
            "runs": by_seed,
            **options.identity(),
            "model": options.model,
            "command": self.command,
            "versions": _versions(),
        }
        write_json(facts, options.out / results.SUMMARY)
        return facts


def _for(tell: Tell, method: str, seed: int) -> Callable[[Sequence[float]], None]:
    return lambda worths: tell(method, seed, worths)


def _check_starts(path: Path, identity: dict[str, Any]) -> None:
    """Notes what the start sets of a folder are; MoldiffError where it holds others."""
    if not path.exists():
        write_json(identity, path)
        return
    try:
        differing = differences(json.loads(path.read_text("utf-8")), identity)
    except (OSError, ValueError, AttributeError):
        differing = ["it cannot be read"]
    if differing:
        raise MoldiffError(f"start: {path.parent} has start sets of another run: {'; '.join(differing)}")


def _check_folder(options: Options) -> None:
    """Makes the folder; MoldiffError where it has calls that are not to be gone on with."""
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MoldiffError(f"output: got {options.out}, cannot write there ({error.strerror})") from None
    if not options.resume and any(options.out.glob(f"*/{NAME}")):
        raise MoldiffError(f"output: {options.out} has a run's calls; go on with --resume, or delete it")


def _of_file(path: Path, size: int, seed: int) -> list[str]:
    """Distinct sane molecules of a file, up to ``size`` of them, drawn where it has more."""
    modality = registry.build("modality", "molecules")
    rows = modality.read(path)[modality.key].dropna()
    molecules = list(dict.fromkeys(each for each in modality.canonical(rows.tolist()) if each is not None))
    if len(molecules) <= size:
        return molecules
    return Random(address(seed, "start")).sample(molecules, size)


def _sha256(model: str) -> str:
    """The weights of a model, or its name where it was made elsewhere."""
    prefix, colon, _ = model.partition(":")
    if colon and prefix in registry.SOURCES:
        return model
    # Deferred, like all that needs torch: a search from a file without a model goes without.
    from moldiff import checkpoint

    return checkpoint.read_card(checkpoint.find(model)).sha256


def _versions() -> dict[str, str]:
    return {"moldiff": __version__, "rdkit": rdkit_version(), "python": platform.python_version()}
