"""Settings of a study: by method its model, its sampler and how it samples, from a YAML file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from moldiff.config import explain
from moldiff.errors import MoldiffError, unknown
from moldiff.files import check_source

#: The file with the settings of the shipped study, in moldiff.configs.
SHIPPED = "study.yaml"
#: Ways to ask that a method has without a row: nothing asked, and classifier-free guidance.
BUILT_IN: Mapping[str, Mapping[str, Any]] = {"none": {}, "cfg": {}}

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError("needs lower-case letters, digits, '-', '_' and '.'")
    return text


Name = Annotated[str, AfterValidator(_name)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Choice(_Section):
    """How a method samples, as far as it is said; ``options`` are the sampler's own."""

    sampler: str | None = None
    temperature: float | None = Field(default=None, gt=0)
    top_p: float | None = Field(default=None, gt=0, le=1)
    nucleus: Literal["standard", "inclusive"] | None = None
    complete: bool | None = None
    level: Literal["x0", "posterior"] | None = None
    options: dict[str, float | str] = Field(default_factory=dict)

    def said(self) -> dict[str, Any]:
        """What is said, as keywords of ``Model.generate``."""
        return {name: getattr(self, name) for name in Choice.model_fields if getattr(self, name) is not None}


class When(_Section):
    """The runs that an override is about; what is not said may be anything."""

    property: str | None = None
    guidance: Name | None = None
    steps: int | None = Field(default=None, ge=1)

    def holds(self, **run: Any) -> bool:
        """Whether a run with these values is among them."""
        return all(value in (None, run.get(name)) for name, value in self)


class Override(Choice):
    """How a method samples in some of its runs."""

    when: When


class Method(Choice):
    """One method: its model, its sampler, and what its kinds of guidance need.

    ``guidance`` has, by kind, further keywords of ``Model.generate``, such as the classifier, and ``also``
    those of every run. Of the ``overrides`` that hold for a run, later ones win. Nothing is taken from the
    model's card.
    """

    model: str
    label: str = ""
    sampler: str
    temperature: float = Field(default=1.0, gt=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    nucleus: Literal["standard", "inclusive"] = "standard"
    complete: bool = False
    guidance: dict[Name, dict[str, Any]] = Field(default_factory=dict)
    also: dict[str, Any] = Field(default_factory=dict)
    overrides: tuple[Override, ...] = ()

    def kinds(self) -> dict[str, Mapping[str, Any]]:
        """By kind of guidance, further keywords."""
        return {**BUILT_IN, **self.guidance}

    def asked(self, **run: Any) -> dict[str, Any]:
        """The keywords of a run with these property, guidance and steps."""
        found = self.said()
        for each in self.overrides:
            if each.when.holds(**run):
                said = each.said()
                # The options of one sampler mean nothing to another.
                kept = found["options"] if said.get("sampler", found["sampler"]) == found["sampler"] else {}
                found |= said | {"options": {**kept, **each.options}}
        extra = {**self.also, **self.kinds()[run["guidance"]]}
        options = {**found["options"], **extra.pop("options", {})}
        return {**found, **extra, "options": options}


class Settings(_Section):
    """The methods of a study, by name."""

    methods: dict[Name, Method] = Field(min_length=1)

    def pick(self, names: Sequence[str]) -> Self:
        """Those of the methods; MoldiffError for a name that is not among them."""
        for name in names:
            if name not in self.methods:
                raise unknown("method", name, self.methods)
        return self.model_copy(update={"methods": {name: self.methods[name] for name in names}})

    def with_models(self, texts: Sequence[str]) -> Self:
        """With other models: METHOD=MODEL for one method, MODEL for all of them."""
        methods = dict(self.methods)
        for text in texts:
            name, equals, model = text.partition("=")
            if equals and name not in methods:
                raise unknown("method", name, methods)
            if not (model if equals else name):
                raise MoldiffError(f"--model: got {text!r}, write MODEL or METHOD=MODEL")
            for each in [name] if equals else list(methods):
                methods[each] = methods[each].model_copy(update={"model": model if equals else name})
        return self.model_copy(update={"methods": methods})


def load(path: Path | None = None) -> Settings:
    """The settings in a YAML file, the shipped ones where none is named.

    Raises:
        MoldiffError: a file that cannot be read, is not YAML, or does not say what a study needs.
    """
    where = f"settings {SHIPPED if path is None else path}"
    if path is not None:
        check_source(path)
    try:
        source = resources.files("moldiff.configs") / SHIPPED if path is None else path
        found = yaml.safe_load(source.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise MoldiffError(f"{where}: cannot be read ({reason})") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        line = str(error).replace("\n", " ")
        raise MoldiffError(f"{where}: not YAML ({line})") from None
    if not isinstance(found, dict):
        raise MoldiffError(f"{where}: got {type(found).__name__}, needs methods: by name")
    try:
        return Settings.model_validate(found)
    except ValidationError as error:
        raise MoldiffError(f"{where}: {explain(error)}") from None


def spelt(found: Settings) -> str:
    """Settings as YAML, as far as they are not what is taken anyway."""
    text: str = yaml.safe_dump(
        found.model_dump(mode="json", exclude_defaults=True), sort_keys=False, width=110
    )
    return text
