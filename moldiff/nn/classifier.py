"""The noisy classifier: a transformer that tells classes and numbers of clean rows from noisy ones."""

from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional

from moldiff.errors import MoldiffError
from moldiff.nn.cache import Fork
from moldiff.nn.embedding import TimeEmbedding
from moldiff.nn.transformer import Block, TransformerConfig, rotary_angles

#: What is answered of a number: its mean and the logarithm of its standard deviation, which stays in bounds.
NUMBER, SPREADS = 2, (-4.0, 2.0)


@final
class Classifier(nn.Module):
    """What it makes of rows of one length, from the mean of their positions' features.

    Its slots are what it answers, one head each: the log-probabilities of classes, or of a number the mean
    and the log s.d. of a normal law. Rows are states, or weights over the states, by which a gradient can be
    taken. A causal one answers at every prefix, from the mean over that prefix.
    """

    edges: nn.Parameter
    rotation: Tensor

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.classes = [slot.classes for slot in config.slots]
        if not self.classes or 1 in self.classes:
            got = f"got {self.classes}, needs numbers (0), or labels of 2 or more each"
            raise MoldiffError(f"classes of a classifier: {got}")
        width = config.width
        self.tokens = nn.Embedding(config.num_states, width)
        self.edges = nn.Parameter(torch.empty(2, config.max_length, width))
        self.time = TimeEmbedding(width) if config.time else None
        self.blocks = nn.ModuleList(Block(config, config.time) for _ in range(config.depth))
        self.norm = nn.RMSNorm(width, eps=1e-6)
        self.sizes = [classes or NUMBER for classes in self.classes]
        self.head = nn.Linear(width, sum(self.sizes))
        rotation = rotary_angles(config.max_length, width // config.heads, config.grid)
        self.register_buffer("rotation", rotation, persistent=False)
        nn.init.normal_(self.tokens.weight, std=0.02)
        nn.init.normal_(self.edges, std=0.02)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x_t: Tensor, t: Tensor, fork: int | None = None) -> Tensor:
        """Answers (B, C, M) float32; causal (B, L, C, M).

        Of a label log p(y | x_t), -inf behind its last class; of a number its mean and log s.d., then zeros.

        Args:
            x_t: (B, L) states, or (B, L, S) weights over the states in a floating type.
            t: (B,) times in [0, 1]; a classifier without time does not look at them.
            fork: of a causal one: each token from this place on is one that may follow those before the
                place, and they do not see each other.
        """
        paths = None if fork is None else Fork(fork)
        places = torch.arange(x_t.shape[1], device=x_t.device)
        places = places if paths is None else paths.places(places)
        length = 1 + int(places[-1])
        weighted = x_t.is_floating_point()
        h = x_t.to(self.tokens.weight.dtype) @ self.tokens.weight if weighted else self.tokens(x_t)
        h = h + self._edges(length)[places]
        signal = None if self.time is None else self.time(t.to(torch.float32))
        rotation = self.rotation[:, places].to(h.dtype)
        for block in self.blocks:
            h = block(h, rotation, signal, paths)
        # Two rows are told apart by small differences of their answers, so these are not rounded to bfloat16.
        with torch.autocast(h.device.type, enabled=False):
            return self._answer(self.norm(h.float()), fork)

    def _answer(self, h: Tensor, fork: int | None) -> Tensor:
        """Answers from features h (B, L, D)."""
        if self.config.causal:
            first = h[:, :fork]
            seen = torch.arange(1, first.shape[1] + 1, device=h.device, dtype=h.dtype)
            pooled = first.cumsum(1) / seen[:, None]
            if fork is not None:
                paths = (first.sum(1, keepdim=True) + h[:, fork:]) / (fork + 1)
                pooled = torch.cat([pooled, paths], 1)
        else:
            pooled = h.mean(1)
        answers = []
        for classes, part in zip(self.classes, self.head(pooled).split(self.sizes, -1), strict=True):
            law, fill = (part.log_softmax(-1), -torch.inf) if classes else (_bounded(part), 0.0)
            answers.append(functional.pad(law, (0, max(self.sizes) - law.shape[-1]), value=fill))
        return torch.stack(answers, -2)

    def _edges(self, length: int) -> Tensor:
        """Where a position stands: its distance from the start and, where the end is seen, from the end."""
        if length > self.config.max_length:
            raise MoldiffError(
                f"row length: got {length}, the classifier takes at most {self.config.max_length}"
            )
        if self.config.causal:
            return self.edges[0, :length]
        return self.edges[0, :length] + self.edges[1, :length].flip(0)


def _bounded(law: Tensor) -> Tensor:
    """A number's mean and log s.d. (..., 2), the latter within bounds."""
    return torch.cat([law[..., :1], law[..., 1:].clamp(*SPREADS)], -1)
