"""Self-correction while sampling: a network trained for it rewrites the tokens that it has already drawn."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal, final, get_args

import torch
from torch import Tensor
from torch.nn import functional

from moldiff.diffusion.categorical import draw
from moldiff.diffusion.process import Process
from moldiff.diffusion.random import Stream
from moldiff.diffusion.remasking import Rates, Step, View, changes
from moldiff.diffusion.walk import Prediction, Unguided, Visit, Walk
from moldiff.errors import MoldiffError, unknown
from moldiff.types import TokenGuidance

#: How a proposal becomes tokens: the likeliest, or a draw.
Mode = Literal["argmax", "sample"]
#: Whether the guidance of the walk acts at corrected moments too.
Guided = Literal["full", "none"]
#: What the tokens revealed at a corrected moment are drawn from: the corrector's last proposal, or the
#: prediction before the correction.
DrawnFrom = Literal["corrector", "predictor"]
#: Whether each of N whole rows of data tokens (N, L) is well formed: (N,) bool.
WellFormed = Callable[[Tensor], Tensor]


@final
@dataclass(frozen=True)
class Corrector:
    """When and how visible tokens are rewritten (ProSeCo, arXiv:2602.11590).

    At a corrected moment the network completes the row: y has its visible tokens, and the likeliest ones
    where it is masked. Reading y, the network proposes every token anew, up to ``corrections`` times or until
    nothing changes. Then the visible tokens become those of y; masks stay masks. Given tokens never change.

    Args:
        every: steps from one corrected moment to the next; the last step is one if it divides them.
        corrections: most readings of a moment; 0 corrects nothing on the way.
        start: the first step, from 1, that may be corrected.
        mode: ``argmax``, or ``sample``, which forgets more than it mends.
        top_k: most tokens that one reading changes, the surest first; 0 for all.
        guidance: ``full``, or ``none`` as in the paper, where the scale then acts only between moments.
        draw: where the tokens revealed at a corrected moment come from.
        final: most readings of the whole row after the last step; 0 for none.
        gate: keep the old tokens where a correction turns a well-formed row into one that is not.
        well_formed: what the gate asks.
    """

    every: int = 4
    corrections: int = 1
    start: int = 1
    mode: Mode = "argmax"
    top_k: int = 0
    guidance: Guided = "full"
    draw: DrawnFrom = "corrector"
    final: int = 0
    gate: bool = False
    well_formed: WellFormed | None = field(default=None, metadata={"option": False})

    def __post_init__(self) -> None:
        for name, choices in {"mode": Mode, "guidance": Guided, "draw": DrawnFrom}.items():
            if getattr(self, name) not in get_args(choices):
                raise unknown(f"{name} of a corrector", getattr(self, name), get_args(choices))
        for name, least in {"every": 1, "corrections": 0, "start": 1, "top_k": 0, "final": 0}.items():
            if getattr(self, name) < least:
                got = getattr(self, name)
                raise MoldiffError(f"{name} of a corrector: got {got}, must be {least} or more")
        if self.top_k and self.mode == "sample":
            raise MoldiffError(f"top_k of a corrector: got {self.top_k}, it goes with mode argmax only")

    @property
    def active(self) -> bool:
        """Whether it ever corrects anything."""
        return self.corrections + self.final > 0

    def at(self, number: int) -> bool:
        """Whether the step with this number, from 0, is a corrected moment."""
        late, due = number + 1 >= self.start, (number + 1) % self.every == 0
        return self.corrections > 0 and late and due


@final
@dataclass(frozen=True)
class _Moment:
    """N rows that are corrected together.

    Args:
        index: (N,) which of the walk's rows.
        number: of the step.
        t: (N,) the time.
        x_t: (N, L) the rows.
        free: (N, L) the visible positions that may change.
        fire: (N, L) the positions of which the corrector's proposal draws a token.
    """

    index: Tensor
    number: int
    t: Tensor
    x_t: Tensor
    free: Tensor
    fire: Tensor

    def visit(self, rows: Tensor, fire: Tensor) -> Visit:
        """The request about some of its rows."""
        index = self.index[rows]
        return Visit(index, torch.full_like(index, self.number), self.t[rows], fire)


@final
class Corrections:
    """The corrections of one walk: steps for a sampler, and what is remembered from one moment to the next.

    A row is shown to the network only where something may come of it. Without a visible token of its own
    there is nothing to correct. A row that a correction left as it was is not looked at again until it
    changes, but for tokens to be drawn. A completion that was a fixed point of the corrector is not read
    again. As long as network and guidance look at tokens alone, not at the time, this changes no sample.
    """

    def __init__(self, corrector: Corrector, process: Process, x: Tensor) -> None:
        """Starts with nothing remembered of rows x (B, L)."""
        if corrector.gate and corrector.well_formed is None:
            raise MoldiffError("gate of a corrector: got no check of rows that it could ask")
        self.corrector, self.process = corrector, process
        # Rows (B, L) as they were left unchanged, their completion, and the last fixed point; -1 is no token.
        self.seen, self.guess, self.fixed = x.new_full((3, *x.shape), -1)

    def step(self, walk: Walk, x: Tensor, view: View, now: tuple[int, Step, Rates]) -> tuple[Tensor, Tensor]:
        """One step for masks: rows (B, L) and confidences after correcting, revealing and giving back."""
        number, step, rates = now
        uniform = walk.random.uniform(walk.rows.ids, number, x.shape[1], Stream.EVENT)
        fire, back = changes(view, rates, uniform)
        x_s, confidence = x.clone(), view.confidence.clone()
        due = self._due(x, view, fire, number)
        plain = (fire.any(-1) & ~due).nonzero().squeeze(-1)
        if len(plain):
            t = torch.full_like(plain, step.t, dtype=torch.float32)
            flags = fire & ~due[:, None]
            visit = Visit(plain, torch.full_like(plain, number), t, flags[plain])
            x_s[flags], confidence[flags] = walk.reveal(x[plain], visit)
        index = due.nonzero().squeeze(-1)
        if len(index):
            t = torch.full_like(index, step.t, dtype=torch.float32)
            moment = _Moment(index, number, t, x[index], view.visible[index], fire[index])
            x_s[index], confidence[index] = self._corrected(walk, moment, confidence[index])
        return x_s.masked_fill(back, self.process.num_tokens), confidence

    def last(self, walk: Walk, x: Tensor, frozen: Tensor, number: int) -> Tensor:
        """Rows x (B, L) without masks after what follows the last step; ``number`` is behind all steps."""
        due = (~frozen).any(-1) & (x != self.fixed).any(-1)
        index = due.nonzero().squeeze(-1)
        if not self.corrector.final or not len(index):
            return x
        rows = x[index]
        t = torch.zeros(len(index), device=x.device)
        moment = _Moment(index, number, t, rows, ~frozen[index], torch.zeros_like(frozen[index]))
        y = self._read(walk, moment, rows, self.corrector.final)[0]
        x = x.clone()
        x[index] = torch.where(self._kept(moment, rows, y)[:, None], rows, y)
        return x

    def _due(self, x: Tensor, view: View, fire: Tensor, number: int) -> Tensor:
        """Flags (B,) of the rows that are corrected in this step."""
        if not self.corrector.at(number):
            return torch.zeros_like(x[:, 0], dtype=torch.bool)
        wanted: Tensor = (x != self.seen).any(-1)
        if self.corrector.draw == "corrector":
            wanted = wanted | fire.any(-1)
        return view.visible.any(-1) & wanted

    def _corrected(self, walk: Walk, moment: _Moment, confidence: Tensor) -> tuple[Tensor, Tensor]:
        """Rows (N, L) of a moment, corrected and with what fires, and the confidences of their tokens."""
        corrector, x_t = self.corrector, moment.x_t
        y, tokens, chance = self._completed(walk, moment)
        from_corrector = moment.fire & (corrector.draw == "corrector")
        asked = replace(moment, fire=from_corrector)
        found, drawn, doubt = self._read(walk, asked, y, corrector.corrections)
        kept = self._kept(moment, y, found)[:, None]
        rewritten = moment.free & (found != x_t) & ~kept
        taken = from_corrector & (~kept | (tokens < 0))
        x_s = torch.where(rewritten, found, x_t)
        if corrector.mode == "argmax":
            same = ~(rewritten | kept).any(-1)
            self.seen[moment.index[same]], self.guess[moment.index[same]] = x_t[same], y[same]
        x_s = torch.where(moment.fire, torch.where(taken, drawn, tokens), x_s)
        confidence = torch.where(moment.fire, torch.where(taken, doubt, chance), confidence)
        return x_s, torch.where(rewritten, doubt, confidence)

    def _completed(self, walk: Walk, moment: _Moment) -> tuple[Tensor, Tensor, Tensor]:
        """Completions (N, L), and what the prediction draws where they fire, -1 where it was not asked."""
        index, x_t = moment.index, moment.x_t
        y = self.guess[index]
        tokens, chance = torch.full_like(x_t, -1), torch.ones(x_t.shape, device=x_t.device)
        asked = (x_t != self.seen[index]).any(-1).nonzero().squeeze(-1)
        if not len(asked):
            return y, tokens, chance
        guided = self._walk(walk)
        seen, fire = x_t[asked], torch.zeros_like(moment.fire)
        found = guided.foresee(seen, index[asked], moment.t[asked])
        y[asked] = torch.where(self.process.is_noise(seen), found.log_p.argmax(-1), seen)
        if self.corrector.draw == "predictor" or self.corrector.gate:
            fire[asked] = moment.fire[asked]
            tokens[fire], chance[fire] = guided.drawn(found, moment.visit(asked, fire[asked]))
        return y, tokens, chance

    def _read(self, walk: Walk, moment: _Moment, y: Tensor, most: int) -> tuple[Tensor, Tensor, Tensor]:
        """Completions (N, L) after at most ``most`` readings, tokens for what fires, the chances of both."""
        walk, y, fire = self._walk(walk), y.clone(), moment.fire
        drawn, doubt = y.clone(), torch.ones(y.shape, device=y.device)
        going = (y != self.fixed[moment.index]).any(-1) | fire.any(-1)
        for reading in range(most):
            rows = going.nonzero().squeeze(-1)
            if not len(rows):
                break
            found = self._proposal(walk, moment, rows, y[rows])
            new = self._rewritten(walk, moment, rows, y[rows], found, reading)
            chance = found.log_p.gather(-1, new[..., None]).squeeze(-1).exp()
            doubt[rows] = torch.where(new != y[rows], chance, doubt[rows])
            still = (new == y[rows]).all(-1) & (self.corrector.mode == "argmax")
            self.fixed[moment.index[rows[still]]] = new[still]
            y[rows] = new
            ends = still | (reading == most - 1)
            going[rows] = ~ends
            flags = torch.zeros_like(fire)
            flags[rows] = fire[rows] & ends[:, None]
            if flags.any():
                drawn[flags], doubt[flags] = walk.drawn(found, moment.visit(rows, flags[rows]))
        return y, drawn, doubt

    def _proposal(self, walk: Walk, moment: _Moment, rows: Tensor, y: Tensor) -> Prediction:
        """What the network makes of whole rows y (M, L), which are some of the moment's.

        Guidance is told the row as it stands, masks and time included; the network that nothing is noise.
        """
        index = moment.index[rows]
        masked = self.process.is_noise(moment.x_t[rows])
        state, t = y.masked_fill(masked, self.process.num_tokens), moment.t[rows]
        cond = None if walk.rows.cond is None else walk.rows.cond[index]
        ask = walk.asker(y, torch.zeros_like(t), cond)
        if isinstance(walk.guidance, TokenGuidance):
            return Prediction(*walk.guidance.choose(ask, state, t))
        log_p = walk.guidance(ask, state, t)
        return Prediction(log_p, lambda fire: log_p[fire])

    def _rewritten(
        self, walk: Walk, moment: _Moment, rows: Tensor, y: Tensor, found: Prediction, reading: int
    ) -> Tensor:
        """Rows (M, L) that a proposal makes of y (M, L)."""
        free = moment.free[rows] | self.process.is_noise(moment.x_t[rows])
        if self.corrector.mode == "sample":
            most = max(self.corrector.corrections, self.corrector.final)
            ids, number = walk.rows.ids[moment.index[rows]], moment.number * most + reading
            uniform = walk.random.uniform(ids, number, y.shape[1], Stream.CORRECTION)[free]
            return y.masked_scatter(free, draw(walk.readout(found.at(free)), uniform))
        # A guidance of tokens is asked only where the network itself would change one.
        wanted = free & (found.log_p.argmax(-1) != y)
        if not wanted.any():
            return y
        chance, best = found.at(wanted).max(-1)
        new = y.masked_scatter(wanted, best)
        if not self.corrector.top_k:
            return new
        sure = torch.full_like(found.log_p[..., 0], -torch.inf)
        sure = sure.masked_scatter(new != y, chance[best != y[wanted]].to(sure.dtype))
        first = sure.topk(min(self.corrector.top_k, y.shape[1]), dim=-1).indices
        chosen = functional.one_hot(first, y.shape[1]).any(-2)
        return torch.where(chosen, new, y)

    def _kept(self, moment: _Moment, before: Tensor, after: Tensor) -> Tensor:
        """Flags (N,) of the rows whose old tokens stay, because only with them the row is well formed."""
        kept = torch.zeros(len(before), dtype=torch.bool, device=before.device)
        ask = self.corrector.well_formed
        changed = ((before != after) & moment.free).any(-1).nonzero().squeeze(-1)
        if self.corrector.gate and ask is not None and len(changed):
            kept[changed] = ask(before[changed]) & ~ask(after[changed])
        return kept

    def _walk(self, walk: Walk) -> Walk:
        return walk if self.corrector.guidance == "full" else replace(walk, guidance=Unguided())
