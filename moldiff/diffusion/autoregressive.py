"""The autoregressive baseline: a row's law as a product over its tokens, each given those before it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, final, get_args

import torch
from torch import Tensor

from moldiff.diffusion.categorical import draw, normalise
from moldiff.diffusion.objective import Batch, Bound, Loss
from moldiff.diffusion.process import Level
from moldiff.diffusion.random import RowRandom, Stream
from moldiff.diffusion.walk import Readout, Unguided
from moldiff.errors import MoldiffError, unknown
from moldiff.types import CausalDenoiser, Condition, Guidance, PrefixCache, Rows

#: Who says how long a row is: the model, by its end token, or whoever asked for rows of a length.
LengthLaw = Literal["own", "drawn"]


@final
@dataclass(frozen=True)
class Autoregressive:
    """p(x) = prod_l p(x_l | x_<l), with one state, the boundary K, that starts a row and ends it.

    A row has at least one token, and at the network's longest row the end is certain: so the law sums to one
    over the rows of 1 to that many tokens.

    Args:
        num_tokens: K, the data tokens 0..K-1.
    """

    num_tokens: int

    def __post_init__(self) -> None:
        if self.num_tokens < 1:
            raise MoldiffError(f"num_tokens: got {self.num_tokens}, must be at least 1")

    @property
    def num_states(self) -> int:
        """The states that the network reads: the data tokens and the boundary."""
        return self.num_tokens + 1

    @property
    def num_outputs(self) -> int:
        """The states that the network predicts: the data tokens and the end."""
        return self.num_tokens + 1

    @property
    def causal(self) -> bool:
        """Whether the network sees no position behind the one that it speaks of."""
        return True

    @property
    def timed(self) -> bool:
        """Whether what the network predicts depends on the time: there is none."""
        return False

    @property
    def level(self) -> Level:
        """Where guidance acts unless the caller says otherwise: on the next token."""
        return "x0"

    def started(self, x: Tensor) -> Tensor:
        """Rows x (B, L) with the start before them, (B, L + 1)."""
        return torch.nn.functional.pad(x, (1, 0), value=self.num_tokens)

    def surprise(self, network: CausalDenoiser, x: Tensor, cond: Tensor | None) -> tuple[Tensor, Tensor]:
        """-log p of each decision that makes rows x (B, L), in nats: which tokens, and where the row ends.

        The first, (B, L), is what each token costs in a row that goes on. The second, (B, L), is what it
        costs that the row goes on after the token, for the last that it ends there. Their sum is -log p(x).
        """
        rows, length = x.shape
        places = min(length + 1, network.max_length)
        log_p = network(self.started(x)[:, :places], torch.zeros(rows, device=x.device), cond)
        goes_on = log_p[..., : self.num_tokens].logsumexp(-1)
        tokens = goes_on[:, :length] - log_p[:, :length].gather(-1, x[..., None]).squeeze(-1)
        # At the longest row the end is certain, and the network is not asked.
        ends = -log_p[:, length:, self.num_tokens] if places > length else torch.zeros_like(tokens[:, :1])
        return tokens, torch.cat([-goes_on[:, 1:length], ends], dim=1)


@final
@dataclass(frozen=True)
class NextToken:
    """The cross-entropy of every token and of the end: the likelihood itself, not a bound.

    Args:
        process: the factorisation.
        random: of every objective; nothing is drawn here.
        t_min: of every objective; 0, as there is no time.
    """

    process: Autoregressive
    random: RowRandom
    t_min: float = 0.0

    def __post_init__(self) -> None:
        if self.t_min:
            raise MoldiffError(f"t_min: got {self.t_min}, but autoregressive has no time; leave it out")

    @property
    def exact(self) -> bool:
        """Whether ``bound`` is the surprise itself."""
        return True

    def __call__(self, network: CausalDenoiser, batch: Batch) -> Loss:
        tokens, ends = self.process.surprise(network, batch.tokens, batch.cond)
        surprise = tokens + ends
        return Loss(surprise.sum() / batch.whole, surprise.detach().mean())

    def bound(self, network: CausalDenoiser, rows: Rows, times: int) -> Bound:
        """-log p of given rows, in nats: what the tokens cost, and to end there and not before."""
        assert rows.tokens is not None
        tokens, ends = self.process.surprise(network, rows.tokens, rows.cond)
        return Bound(tokens.double().sum(1, keepdim=True), ends.double().sum(1))


@final
@dataclass(frozen=True)
class AutoregressiveSampler:
    """Token by token from left to right; the network reads each token once.

    Rows that have ended are not asked about again. A given token is taken when its place is reached, so that
    what stands before it was drawn without knowing it.

    Args:
        process: the factorisation that the network was trained on.
        length: ``own``: the end token decides, and ``Rows.length`` is the most tokens; ``drawn``: rows are
            ``Rows.length`` tokens long, the end being forbidden before.
        readout: temperature and nucleus.
    """

    process: Autoregressive
    length: LengthLaw = "own"
    readout: Readout = field(default_factory=Readout)

    def __post_init__(self) -> None:
        if self.length not in get_args(LengthLaw):
            raise unknown("length of autoregressive", self.length, get_args(LengthLaw))

    @property
    def own_length(self) -> bool:
        """Whether rows may be shorter than ``Rows.length``; they are then filled up with the id K."""
        return self.length == "own"

    @torch.no_grad()
    def __call__(
        self, denoiser: CausalDenoiser, rows: Rows, guidance: Guidance | None = None, seed: int = 0
    ) -> Tensor:
        """Clean tokens (B, L), K behind a row's end; row i depends on (seed, rows.ids[i]) alone."""
        end, random, guided = self.process.num_tokens, RowRandom(seed), guidance or Unguided()
        x = torch.full((len(rows.ids), rows.length), end, device=rows.ids.device)
        if rows.tokens is not None and rows.frozen is not None:
            x = torch.where(rows.frozen, rows.tokens, x)
        given = x != end
        left = _Unfinished(denoiser, self.process, rows.cond, x)
        for place in range(rows.length):
            if not len(left.index):
                break
            token, ids = left.x[:, place].clone(), rows.ids[left.index]
            free = ~given[left.index, place]
            if free.any():
                left.turn(place, self._may_end(given[left.index], place))
                t = torch.full(ids.shape, 1 - place / rows.length, device=x.device)
                log_p = self.readout(guided(left.ask, left.x, t)[:, 0])
                uniform = random.uniform(ids, place, 1, Stream.TOKEN)[:, 0]
                token = torch.where(free, draw(log_p, uniform), token)
            left.x[:, place] = token
            x[left.index, place] = token
            left.keep(token != end)
        return x

    def _may_end(self, given: Tensor, place: int) -> Tensor | None:
        """Whether rows with ``given`` places (B, L) may end before ``place``, (B,); None where none ever may.

        Not without a token, and not before what is given.
        """
        if not self.own_length:
            return None
        return ~given[:, place:].any(1) & (place > 0)


@final
class _Unfinished:
    """The rows that have not ended: their tokens, and what the network has read of them."""

    def __init__(
        self, network: CausalDenoiser, process: Autoregressive, cond: Tensor | None, x: Tensor
    ) -> None:
        self._network, self._process, self._cond = network, process, cond
        #: Which rows (N,) of those asked for, and their tokens (N, L), the boundary where there is none yet.
        self.index, self.x = torch.arange(len(x), device=x.device), x.clone()
        self._read: list[_Read] = []
        self._asked = self._place = 0
        self._may_end: Tensor | None = None

    def turn(self, place: int, may_end: Tensor | None) -> None:
        """Begins a place, which rows may_end (N,) may leave empty."""
        self._asked, self._place, self._may_end = 0, place, may_end

    def ask(self, conds: Sequence[Condition]) -> list[Tensor]:
        """Log p of the token at the place, (N, 1, K), with the end (N, 1, K + 1), for several conditions."""
        read = self._reading([c(self._cond) for c in conds])
        unread = self._process.started(self.x)[:, read.cache.length : self._place + 1].repeat(len(conds), 1)
        t = torch.zeros(len(unread), device=unread.device)
        log_p = self._network(unread, t, read.cond, read.cache)[:, -1:].float()
        return [self._lawful(each) for each in log_p.chunk(len(conds))]

    def keep(self, going_on: Tensor) -> None:
        """Drops the rows that are not flagged, (N,)."""
        if going_on.all():
            return
        for read in self._read:
            read.keep(going_on)
        self.index, self.x = self.index[going_on], self.x[going_on]
        self._cond = None if self._cond is None else self._cond[going_on]

    def _reading(self, conds: list[Tensor | None]) -> "_Read":
        """What was read for the same request at the places before; a fresh one where it was another."""
        number, self._asked = self._asked, self._asked + 1
        told = [c for c in conds if c is not None]
        cond = torch.cat(told) if told else None
        if number == len(self._read):
            self._read.append(_Read(self._network.new_cache(), len(conds), cond))
        elif not self._read[number].same(len(conds), cond):
            self._read[number] = _Read(self._network.new_cache(), len(conds), cond)
        return self._read[number]

    def _lawful(self, log_p: Tensor) -> Tensor:
        """The law (N, 1, K or K + 1) of what may stand at the place, from all that the network knows of."""
        if self._may_end is None:
            return normalise(log_p[..., : self._process.num_tokens])
        if self._may_end.all():
            return log_p
        barred = torch.zeros_like(log_p, dtype=torch.bool)
        barred[..., self._process.num_tokens] = ~self._may_end[:, None]
        return normalise(log_p.masked_fill(barred, -torch.inf))


@final
@dataclass
class _Read:
    """What the network has read of N rows under each of ``count`` conditions, (count N, C)."""

    cache: PrefixCache
    count: int
    cond: Tensor | None

    def same(self, count: int, cond: Tensor | None) -> bool:
        """Whether that was read under these conditions."""
        if self.cond is None or cond is None:
            return self.count == count and self.cond is cond
        return self.cond.shape == cond.shape and bool(
            torch.isclose(self.cond, cond, 0, 0, equal_nan=True).all()
        )

    def keep(self, going_on: Tensor) -> None:
        """Drops the rows that are not flagged, (N,)."""
        index = going_on.repeat(self.count).nonzero().squeeze(-1)
        self.cache.select(index)
        self.cond = None if self.cond is None else self.cond[index]
