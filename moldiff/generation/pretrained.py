"""Published masked diffusion models, from a folder or the Hugging Face hub, as models ready to generate."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from moldiff.assembly import build_tokenizer, difference
from moldiff.checkpoint import HASHES, IN_TRAIN, LENGTHS, WEIGHTS, Card, Checkpoint, versions
from moldiff.config import DataConfig, NetworkConfig, Setting, TrainConfig, explain
from moldiff.errors import MoldiffError, short
from moldiff.files import check_source
from moldiff.generation.model import Model
from moldiff.nn.dit import DiT, DiTConfig
from moldiff.nn.transformer import rotary_angles

CONFIG, TOKENIZER, VOCABULARY, MERGES = "config.json", "tokenizer.json", "vocab.json", "merges.txt"
NEEDED = (
    f"a folder has {CONFIG}, {WEIGHTS} (weights in other files are not read) and {TOKENIZER}, "
    f"or {VOCABULARY} and {MERGES} in its stead"
)
#: The one repository asked for a tokenizer where a model on the hub has none: the published models' own.
TOKENS_OF = "gpt2"
#: What every published array's name begins with, and the one array that is a formula.
PREFIX, ROTARY = "backbone.", "backbone.rotary_emb.inv_freq"
#: What stands at the beginning and end of a row, and is one token where the vocabulary has it.
END = "<|endoftext|>"
FLOATS = ("F32", "BF16", "F16", "F64")
#: Steps and nucleus of the published samples (Wang et al., 2025, arXiv:2503.00307).
DEFAULT = Setting(sampler="mdlm", steps=1024, top_p=0.9)

#: On the hub no name is longer than 96 characters.
_NAME = re.compile(
    r"(?P<name>(?=[^@]{1,96}(@|$))[A-Za-z0-9][\w.-]*(?:/[\w.-]+)?)(?:@(?P<revision>[\w./-]+))?", re.ASCII
)


class Published(BaseModel):
    """What has to stand in ``config.json``; what else stands there does not change the network."""

    model_config = ConfigDict(frozen=True, protected_namespaces=(), strict=True)

    model_type: Literal["mdlm"]
    vocab_size: int = Field(ge=2, le=2**22)
    model_length: int = Field(ge=1, le=2**17)
    hidden_dim: int = Field(ge=2, le=2**16)
    cond_dim: int = Field(ge=1, le=2**16)
    n_blocks: int = Field(ge=1, le=2**10)
    n_heads: int = Field(ge=1, le=2**10)
    time_conditioning: bool

    def size(self) -> DiTConfig:
        """The network; of its states, the last is the mask."""
        return DiTConfig(
            self.vocab_size - 1,
            self.model_length,
            width=self.hidden_dim,
            depth=self.n_blocks,
            heads=self.n_heads,
            signal=self.cond_dim,
            time=self.time_conditioning,
        )


def load(source: str, device: str = "auto") -> Model:
    """The model in a folder or, by ``ORG/NAME`` or ``ORG/NAME@REVISION``, on the Hugging Face hub.

    No code of a model is run and nothing is unpickled.

    Raises:
        MoldiffError: no such model, one of another kind, a damaged one, or a device that is not there.
    """
    name = f"hf:{source}"
    place = Place.of(source)
    size = _published(place).size()
    path = place.file(WEIGHTS)
    network = _network(name, path, size)
    tokenizer = _tokenizer(place, size.num_tokens)
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    card = _card(name, size, sum(map(Tensor.numel, network.parameters())), found, tokenizer)
    # Which rows it was trained on is not published: none is known, and all have the one length.
    arrays = {
        LENGTHS: torch.tensor([size.max_length]),
        HASHES: torch.empty(0, dtype=torch.int64),
        IN_TRAIN: torch.empty(0, dtype=torch.bool),
    }
    return Model(Checkpoint(card, arrays), device, network)


@final
@dataclass(frozen=True)
class Place:
    """Where a model's files are.

    Args:
        name: how it was asked for, for messages.
        folder: that has them.
        hub: whether they come from the hub.
    """

    name: str
    folder: Path
    hub: bool

    @classmethod
    def of(cls, source: str) -> Place:
        """The folder of that path, else that of the hub's files of that name; MoldiffError for neither."""
        name, folder = f"hf:{source}", os.path.expanduser(source)
        # os.path's test, unlike pathlib's, is also false for what cannot be a path.
        if os.path.isdir(folder):
            return cls(name, Path(folder), False)
        named = _NAME.fullmatch(source)
        if named is None:
            got = f"model {short(name)}: there is no such folder"
            raise MoldiffError(f"{got}; name one, or ORG/NAME or ORG/NAME@REVISION on the Hugging Face hub")
        wanted = (CONFIG, WEIGHTS, TOKENIZER, VOCABULARY, MERGES)
        return cls(name, _fetched(name, named["name"], named["revision"], wanted), True)

    def holds(self, name: str) -> bool:
        """Whether it has a file."""
        return (self.folder / name).exists()

    def file(self, name: str) -> Path:
        """The path of a file; MoldiffError where there is none."""
        path = self.folder / name
        check_source(path)
        if not path.exists():
            raise MoldiffError(f"model {self.name}: it has no {name}; {NEEDED}")
        return path

    def text(self, name: str) -> str:
        """What a file says; MoldiffError where it cannot be read."""
        try:
            return self.file(name).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise MoldiffError(f"model {self.name}: {name} cannot be read ({error})") from None

    def json(self, name: str) -> dict[str, Any]:
        """The JSON object in a file; MoldiffError where it holds anything else."""
        text = self.text(name)
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise MoldiffError(f"model {self.name}: {name} is not JSON ({error})") from None
        if not isinstance(found, dict):
            raise MoldiffError(f"model {self.name}: {name} holds no object, but {type(found).__name__}")
        return found


def _fetched(asker: str, name: str, revision: str | None, files: Sequence[str]) -> Path:
    """The folder with what a repository on the hub has of ``files``, downloaded unless they are cached."""
    try:
        from huggingface_hub import errors, snapshot_download
    except ImportError:
        raise MoldiffError(
            f"model {short(asker)}: to download it, pip install moldiff[hub]; a folder is read without"
        ) from None
    where = name if revision is None else f"{name}@{revision}"
    # Every error that the client declares, its HTTP library's too: which one that is depends on its version.
    declared = [each for each in vars(errors).values() if isinstance(each, type)]
    known: list[type[Exception]] = [OSError, *(each for each in declared if issubclass(each, Exception))]
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(files)))
    except errors.RevisionNotFoundError:
        why = f"the hub has no revision {short(str(revision))} of it"
    except errors.RepositoryNotFoundError:
        why = f"the hub has no {short(where)} that you may read"
    except errors.LocalEntryNotFoundError:
        why = f"{short(where)} is not in the cache, and the hub cannot be reached"
    except tuple(known) as error:
        why = f"{short(where)} cannot be downloaded: {short(' '.join(str(error).split()))}"
    raise MoldiffError(f"model {short(asker)}: {why}")


def _published(place: Place) -> Published:
    """The configuration of a model; MoldiffError where it is of another kind."""
    try:
        return Published.model_validate(place.json(CONFIG))
    except ValidationError as error:
        raise MoldiffError(f"model {place.name}: {CONFIG}: {explain(error)}") from None


def _network(name: str, path: Path, size: DiTConfig) -> DiT:
    """The network with the weights in a file; MoldiffError where they are not those of such a network."""
    with torch.device("meta"):
        network = DiT(size)
    expected = {PREFIX + key: value.shape for key, value in network.state_dict().items()}
    expected[ROTARY] = torch.Size([size.width // size.heads // 2])
    try:
        with safe_open(path, "pt") as file:
            fault = _fault(file, expected)
            read = () if fault else expected
            weights = {key: file.get_tensor(key).to(torch.float32, copy=True) for key in read}
    except (SafetensorError, OSError) as error:
        raise MoldiffError(f"model {name}: {WEIGHTS} cannot be read ({error})") from None
    if fault is not None:
        raise MoldiffError(f"model {name}: {WEIGHTS} is not what {CONFIG} describes ({fault})")
    _check(name, size, weights)
    del weights[ROTARY]
    network.load_state_dict({key.removeprefix(PREFIX): each for key, each in weights.items()}, assign=True)
    return network


def _fault(file: Any, expected: Mapping[str, torch.Size]) -> str | None:
    """How the header of a file is not that of these arrays, None where it is; no weight is read."""
    slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118 - it is no dict
    fault = difference(expected, {k: torch.empty(v.get_shape(), device="meta") for k, v in slices.items()})
    odd = [key for key, each in slices.items() if each.get_dtype() not in FLOATS]
    return f"{odd[0]} is {slices[odd[0]].get_dtype()}, expected {' or '.join(FLOATS)}" if odd else fault


def _check(name: str, size: DiTConfig, weights: Mapping[str, Tensor]) -> None:
    """Refuses weights that no number may be, and rotary frequencies that are not the formula's."""
    for key, each in weights.items():
        if not each.isfinite().all():
            raise MoldiffError(f"model {name}: {WEIGHTS}: {key} holds numbers that are not finite")
    if size.max_length == 1:
        return
    # The second place turns by each frequency itself. Stored in bfloat16 they are off by up to 0.4 %.
    cos, sin = rotary_angles(2, size.width // size.heads)[:, 1]
    if not torch.allclose(weights[ROTARY], torch.atan2(sin, cos), rtol=0.01, atol=0.0):
        raise MoldiffError(f"model {name}: {WEIGHTS}: {ROTARY} is not 10000^(-2i / features of a head)")


def _tokenizer(place: Place, num_tokens: int) -> dict[str, Any]:
    """The state of a model's tokenizer; MoldiffError where it has none or one of another size."""
    source = place
    if not place.holds(TOKENIZER) and not place.holds(VOCABULARY):
        if not place.hub:
            raise MoldiffError(f"model {place.name}: it has no tokenizer; {NEEDED}")
        source = Place(place.name, _fetched(place.name, TOKENS_OF, None, (TOKENIZER,)), True)
    definition = source.json(TOKENIZER) if source.holds(TOKENIZER) else _assembled(source)
    _drop_added(definition, num_tokens)
    state = {"name": "bpe", "definition": json.dumps(definition)}
    try:
        size = build_tokenizer("text", state).vocab_size
    except MoldiffError as error:
        raise MoldiffError(f"model {place.name}: {error}") from None
    if size != num_tokens:
        got = f"its tokenizer has {size} tokens, its network {num_tokens} and a mask"
        raise MoldiffError(f"model {place.name}: {got}; they do not belong together")
    return state


def _drop_added(definition: dict[str, Any], num_tokens: int) -> None:
    """Takes tokens out that were added behind the model's own, such as a padding: no model draws them."""
    added = definition.get("added_tokens")
    if isinstance(added, list) and all(isinstance(each, dict) for each in added):
        definition["added_tokens"] = [each for each in added if each.get("id") in range(num_tokens)]


def _assembled(place: Place) -> dict[str, Any]:
    """A tokenizer's definition from the two files of the GPT-2 layout."""
    vocabulary = place.json(VOCABULARY)
    lines = [line for line in place.text(MERGES).split("\n") if line and not line.startswith("#version")]
    facts = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    added = [{"id": vocabulary[END], "content": END, **facts}] if END in vocabulary else []
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": level,
        "post_processor": None,
        "decoder": level,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": lines},
    }


def _card(name: str, size: DiTConfig, parameters: int, sha256: str, tokenizer: dict[str, Any]) -> Card:
    """The facts of a model that was published elsewhere."""
    network = NetworkConfig(width=size.width, depth=size.depth, heads=size.heads, time=size.time)
    data = DataConfig(modality="text", tokenizer="bpe")
    return Card(
        name=name,
        description="published by others; what it was trained on, and its licence, are on its own page",
        sha256=sha256,
        parameters=parameters,
        max_length=size.max_length,
        tokenizer=tokenizer,
        conditions=(),
        length="empirical",
        table=(),
        config=TrainConfig(data=data, network=network, default=DEFAULT),
        training={},
        versions=versions(),
        default=DEFAULT,
    )
