"""Classifier-based guidance: its three forms against enumeration, its zeros, its cost, and how it nests."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from scipy.stats import chi2
from torch import Tensor, nn

from moldiff.diffusion.categorical import normalise, one_hot, safe_log
from moldiff.diffusion.classification import log_likelihoods
from moldiff.diffusion.ordered import OrderedSampler, Surest
from moldiff.diffusion.process import Masked, Process, Uniform
from moldiff.diffusion.sampler import FirstHittingSampler, Sampler
from moldiff.diffusion.walk import Unguided, given
from moldiff.errors import MoldiffError
from moldiff.guidance.classifier_based import Exact, FirstOrder, TokenChoice
from moldiff.guidance.classifier_free import ClassifierFree, combine
from moldiff.guidance.completable import Completable
from moldiff.nn.cost import count_forwards
from moldiff.types import Balance, Condition, Rows

K, L = 3, 2
SCALES = [0.0, 0.5, 1.0, 3.0, 10.0]
CLEAN = torch.cartesian_prod(torch.arange(K), torch.arange(K))


def joint() -> Tensor:
    """P(y, x) for a label of two classes and rows of two tokens of three kinds, (2, 9)."""
    weights = torch.rand(2, K * K, generator=torch.Generator().manual_seed(1)).double() ** 4 + 0.02
    return torch.tensor([[0.3], [0.7]]) * weights / weights.sum(1, keepdim=True)


def likelihoods(process: Process, x_t: Tensor, alpha: float) -> Tensor:
    """q(x_t^l | x_0^l) for each clean row, (B, 9, L)."""
    each = process.marginal(torch.eye(K, dtype=torch.float64), alpha)  # (K, S)
    return each[CLEAN[None], x_t[:, None, :].expand(-1, K * K, -1)]


def denoised(process: Process, law: Tensor, x_t: Tensor, alpha: float) -> Tensor:
    """p(x_0^l | x_t without x_t^l), (B, L, K), under a law over clean rows (9,)."""
    q = likelihoods(process, x_t, alpha)
    others = law * torch.stack([q[..., 1], q[..., 0]], -1).movedim(-1, 0)  # (L, B, 9)
    p = torch.stack([others[at] @ one_hot(CLEAN[:, at], K, torch.float64) for at in range(L)], 1)
    return p / p.sum(-1, keepdim=True)


class True_(nn.Module):
    """Log p(y | x_t, t), by enumeration."""

    def __init__(self, process: Process) -> None:
        super().__init__()
        self.process = process

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        # With masks, what is visible says all, whatever the time.
        alpha = 0.5 if self.process.events_first else float(self.process.schedule.alpha(t[0].double()))
        p = likelihoods(self.process, x_t, alpha).prod(-1) @ joint().T
        return (p / p.sum(-1, keepdim=True)).log()[:, None]


class Blind(nn.Module):
    """The exact denoiser that is not told the label; for masks it does not depend on the time."""

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        assert cond is None or cond.shape[1] == 0
        return denoised(Masked(K), joint().sum(0), x_t, 0.5).log()


class Network(nn.Module):
    """Random smooth log-probabilities of two labels that depend on every state, on its place and on the time.

    Args:
        sharpness: how far it is from constant.
        linear: whether the answers are linear in the indicators (and not normalised).
    """

    def __init__(self, states: int, length: int, sharpness: float = 1.0, linear: bool = False) -> None:
        super().__init__()
        source = torch.Generator().manual_seed(2)
        self.weights = sharpness * torch.randn(length, states, 4, generator=source, dtype=torch.float64)
        self.states, self.linear = states, linear

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        x = x_t.double() if x_t.is_floating_point() else one_hot(x_t, self.states, torch.float64)
        told = torch.einsum("bls,lsc->bc", x, self.weights) * (1 + t.double())[:, None]
        told = told if self.linear else told + 0.5 * told.roll(1, -1) ** 2
        answer = told.view(-1, 2, 2)
        return answer if self.linear else normalise(answer)


def asker(log_p: Tensor, cond: Tensor | None) -> Any:
    """What a walk hands to a guidance, for one prediction whatever the condition."""

    def ask(conds: Sequence[Condition]) -> list[Tensor]:
        for each in conds:
            each(cond)
        return [log_p for _ in conds]

    return ask


def a_case(states: int, rows: int = 4, length: int = 3) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A prediction with zeros, rows, times, and what is asked of two labels: nothing of the last row."""
    source = torch.Generator().manual_seed(4)
    p = torch.rand(rows, length, states, generator=source, dtype=torch.float64) ** 2
    p[0, 1, 2] = p[1, 0, :3] = p[2, 2, 1:] = 0
    x_t = torch.randint(states, (rows, length), generator=source)
    asked = torch.tensor([[1.0, math.nan], [0.0, 1.0], [math.nan, 0.0], [math.nan, math.nan]])
    return safe_log(p / p.sum(-1, keepdim=True)), x_t, torch.rand(rows, generator=source), asked


def by_hand(case: tuple[Tensor, Tensor, Tensor, Tensor], classifier: Any, scale: float) -> Tensor:
    """The definition, one variant at a time."""
    log_p, x_t, t, asked = case
    out = log_p.clone()
    for row, place, state in torch.cartesian_prod(*(torch.arange(n) for n in log_p.shape)).tolist():
        variant = x_t[row : row + 1].clone()
        variant[0, place] = state
        answer = classifier(variant, t[row : row + 1])[0]
        for label, value in enumerate(asked[row].tolist()):
            if not math.isnan(value):
                out[row, place, state] += scale * float(answer[label, int(value)])
    return normalise(out)


# Exact.


@pytest.mark.parametrize(("scale", "budget"), [(0.5, 1), (1.0, 7), (3.0, 1 << 15)])
def test_exact_is_the_definition_however_it_is_cut(scale: float, budget: int) -> None:
    case, classifier = a_case(5), Network(5, 3)
    log_p, x_t, t, asked = case
    found = Exact(Unguided(), classifier, 2, scale, budget)(asker(log_p, asked), x_t, t)
    torch.testing.assert_close(found, by_hand(case, classifier, scale), rtol=0, atol=1e-6)
    torch.testing.assert_close(found.exp().sum(-1), torch.ones(4, 3, dtype=torch.float64))
    # The row of which nothing is asked is as it was.
    assert found[3].equal(log_p[3])


def test_exact_asks_about_what_is_possible_and_once_about_what_stays() -> None:
    (log_p, x_t, t, asked), classifier = a_case(5), Network(5, 3)
    log_p, x_t = log_p[:2], torch.tensor([[0, 0, 0], [4, 4, 4]])
    with count_forwards(classifier) as cost:
        Exact(Unguided(), classifier, 2)(asker(log_p, asked[:2]), x_t, t[:2])
    # Row 0: 5, 4 and 5 states possible, of which three are the row itself; row 1: 2, 5 and 5, the same.
    assert cost.rows == (4 + 3 + 4 + 1) + (1 + 4 + 4 + 1)


@pytest.mark.parametrize("process", [Masked(K), Uniform(K)], ids=["masked", "uniform"])
def test_true_classifier_and_a_small_step_give_the_conditional_reverse_rates(process: Process) -> None:
    x_t = torch.cartesian_prod(torch.arange(process.num_states), torch.arange(process.num_states))
    t, h = 0.4, 1e-6
    alpha, alpha_s = (float(process.schedule.alpha(torch.tensor(at).double())) for at in (t, t - h))
    for label in (0, 1):
        law = joint()[label] / joint()[label].sum()
        steps = [
            process.posterior(denoised(process, each, x_t, alpha), x_t, alpha, alpha_s)
            for each in (joint().sum(0), law)
        ]
        plain, conditional = steps
        asked = torch.full((len(x_t), 1), float(label))
        guidance = Exact(Unguided(), True_(process), 1)
        guided = guidance(asker(safe_log(plain), asked), x_t, torch.full((len(x_t),), t).double()).exp()
        off = ~one_hot(x_t, process.num_states).bool() & (conditional > 0)
        torch.testing.assert_close(guided[off] / h, conditional[off] / h, rtol=1e-3, atol=1e-3)
        assert not torch.allclose(plain[off] / h, conditional[off] / h, rtol=0.1)


@pytest.mark.parametrize("form", [Exact, TokenChoice, FirstOrder])
def test_scale_zero_and_a_constant_classifier_change_nothing(form: Any) -> None:
    log_p, x_t, t, asked = a_case(5)
    options = {"states": 5} if form is FirstOrder else {}
    constant, classifier = Network(5, 3, sharpness=0.0), Network(5, 3)
    with count_forwards(classifier) as cost:
        assert form(Unguided(), classifier, 2, 0.0, **options)(asker(log_p, asked), x_t, t).equal(log_p)
    assert cost.calls == 0
    for scale in SCALES:
        found = form(Unguided(), constant, 2, scale, **options)(asker(log_p, asked), x_t, t)
        torch.testing.assert_close(found, log_p, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("form", [Exact, TokenChoice, FirstOrder])
@pytest.mark.parametrize("scale", SCALES)
def test_zeros_never_give_nan_and_stay_zeros(form: Any, scale: float) -> None:
    log_p, x_t, t, asked = a_case(5)
    options = {"states": 5} if form is FirstOrder else {}

    class Never(nn.Module):
        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            out = torch.zeros(len(x), 2, 2, dtype=torch.float64) + 0 * x.double().sum()
            # From every state of the first position the first class is out of reach, from some of the others.
            never = out[:, :, 1] * 0 - math.inf
            return torch.stack([out[:, :, 1], never], -1) if not x.is_floating_point() else out

    for classifier in (Network(5, 3, sharpness=40.0), Never()):
        found = form(Unguided(), classifier, 2, scale, **options)(asker(log_p, asked), x_t, t)
        assert not found.isnan().any()
        assert found[log_p.isneginf()].isneginf().all()
        torch.testing.assert_close(found.exp().sum(-1), torch.ones(4, 3, dtype=torch.float64))


# First order.


@pytest.mark.parametrize("budget", [1, 1 << 15])
def test_first_order_is_exact_where_the_answer_is_linear(budget: int) -> None:
    (log_p, x_t, t, asked), classifier = a_case(5), Network(5, 3, linear=True)
    exact = Exact(Unguided(), classifier, 2, 2.0)(asker(log_p, asked), x_t, t)
    with count_forwards(classifier) as cost:
        found = FirstOrder(Unguided(), classifier, 2, 2.0, budget, states=5)(asker(log_p, asked), x_t, t)
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-5)
    assert (cost.rows, cost.gradients) == (3, 3)


def test_its_error_shrinks_with_the_square_of_the_change() -> None:
    log_p, x_t, t, asked = a_case(5)

    def error(sharpness: float) -> float:
        classifier = Network(5, 3, sharpness)
        forms = Exact(Unguided(), classifier, 2), FirstOrder(Unguided(), classifier, 2, states=5)
        exact, found = (form(asker(log_p, asked), x_t, t) for form in forms)
        possible = ~log_p.isneginf()
        return float((exact - found)[possible].abs().max())

    assert error(0.02) / error(0.01) == pytest.approx(4, rel=0.1)
    assert error(1.0) > 0.1


def test_first_order_takes_gradients_inside_a_sampler() -> None:
    with torch.no_grad():
        sampler = Sampler(Masked(K), 4, level="posterior")
        guidance = FirstOrder(Unguided(), Network(K + 1, L), 1, states=K + 1)
        rows = Rows(torch.arange(8), L, torch.ones(8, 1))
        assert (sampler(Blind(), rows, guidance) < K).all()


# Token choice.


def fits(x: Tensor, law: Tensor) -> bool:
    counts = torch.bincount(x[:, 0] * K + x[:, 1], minlength=K * K)
    wanted = law / law.sum() * len(x)
    return float(chi2.sf(float(((counts - wanted) ** 2 / wanted).sum()), K * K - 1)) > 1e-3


@pytest.mark.parametrize("sampler", [FirstHittingSampler(Masked(K)), OrderedSampler(Masked(K), Surest())])
@pytest.mark.parametrize("label", [0.0, 1.0])
def test_the_true_classifier_turns_the_law_into_the_conditional_one(sampler: Any, label: float) -> None:
    guidance = TokenChoice(Unguided(), True_(Masked(K)), 1)
    rows = Rows(torch.arange(3000), L, torch.full((3000, 1), label))
    x = sampler(Blind(), rows, guidance)
    assert fits(x, joint()[int(label)])
    assert not fits(x, joint().sum(0))


def test_it_costs_a_forward_a_token_and_kind_and_none_where_nothing_is_asked() -> None:
    classifier = True_(Masked(K))
    guidance = TokenChoice(Unguided(), classifier, 1, 2.0)
    cond = torch.tensor([[1.0], [math.nan]]).repeat(10, 1)
    with count_forwards(classifier) as cost:
        x = FirstHittingSampler(Masked(K))(Blind(), Rows(torch.arange(20), L, cond), guidance)
    assert cost.rows == 10 * L * K
    plain = FirstHittingSampler(Masked(K))(Blind(), Rows(torch.arange(20), L))
    assert x[1::2].equal(plain[1::2])
    assert not x[::2].equal(plain[::2])


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_no_scale_moves_the_moment_at_which_a_mask_is_lifted(scale: float) -> None:
    def masks(guidance: Any) -> list[Tensor]:
        seen, net = [], Blind()

        def spy(x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
            seen.append(x_t == K)
            return net(x_t, t)

        Sampler(Masked(K), 4)(spy, Rows(torch.arange(50), L, torch.ones(50, 1)), guidance)
        return seen

    plain, guided = masks(None), masks(TokenChoice(Unguided(), Network(K + 1, L), 1, scale))
    assert len(plain) == len(guided)
    assert all(a.equal(b) for a, b in zip(plain, guided, strict=True))


def test_at_the_posterior_a_telling_token_comes_sooner() -> None:
    process, x_t = Masked(K), torch.tensor([[K, K]])
    plain = process.posterior(denoised(process, joint().sum(0), x_t, 0.5), x_t, 0.5, 0.6)
    asked, t = torch.ones(1, 1), torch.tensor([0.5]).double()
    stays = [
        float(
            Exact(Unguided(), True_(process), 1, scale)(asker(safe_log(plain), asked), x_t, t)[0, 0, K].exp()
        )
        for scale in (0.0, 5.0, 20.0)
    ]
    assert stays[0] == pytest.approx(0.8)
    assert stays[0] > stays[1] > stays[2]


def test_where_nothing_fires_nothing_is_asked_and_everywhere_is_the_whole_guidance() -> None:
    (log_p, x_t, t, asked), classifier = a_case(5), Network(5, 3)
    guidance = TokenChoice(Unguided(), classifier, 2, 2.0)
    base, at = guidance.choose(asker(log_p, asked), x_t, t)
    assert base.equal(log_p)
    fire = torch.zeros_like(x_t, dtype=torch.bool)
    with count_forwards(classifier) as cost:
        assert at(fire).shape == (0, 5)
    assert cost.calls == 0
    fire[1, 2] = fire[0, 0] = True
    whole = by_hand((log_p, x_t, t, asked), classifier, 2.0)
    torch.testing.assert_close(at(fire), whole[fire], rtol=0, atol=1e-6)
    torch.testing.assert_close(guidance(asker(log_p, asked), x_t, t), whole, rtol=0, atol=1e-6)


def test_pruning_asks_about_the_nucleus_alone() -> None:
    classifier = Network(4, 1)
    log_p = torch.tensor([[[0.5, 0.3, 0.15, 0.05]], [[0.97, 0.01, 0.01, 0.01]]]).double().log()
    x_t, t, asked = torch.zeros(2, 1, dtype=torch.int64), torch.zeros(2), torch.ones(2, 2)
    with count_forwards(classifier) as cost:
        found = TokenChoice(Unguided(), classifier, 2, top_p=0.8)(asker(log_p, asked), x_t, t).exp()
    assert cost.rows == 2
    assert found[0, 0, 2:].tolist() == [0, 0]
    whole = TokenChoice(Unguided(), classifier, 2)(asker(log_p, asked), x_t, t).exp()
    assert float(found[0, 0, 0] / found[0, 0, 1]) == pytest.approx(float(whole[0, 0, 0] / whole[0, 0, 1]))
    # A nucleus of one token leaves nothing to choose.
    assert found[1, 0].tolist() == [1, 0, 0, 0]


# Nesting, and what is refused.


def test_it_weighs_what_classifier_free_guidance_predicts_and_hides_the_classes_from_the_network() -> None:
    log_p, x_t, t, asked = a_case(5)
    other = a_case(5)[0].roll(1, 0)
    told = torch.tensor([[0.5], [math.nan], [0.1], [0.2]])
    seen: list[Tensor | None] = []

    def ask(conds: Sequence[Condition]) -> list[Tensor]:
        seen.extend(each(torch.cat([told, asked], 1)) for each in conds)
        return [log_p, other]

    classifier = Network(5, 3)
    found = Exact(ClassifierFree(2.0), classifier, 2, 1.5)(ask, x_t, t)
    assert [each.shape for each in seen if each is not None] == [(4, 1), (4, 1)]
    torch.testing.assert_close(seen[0], told, equal_nan=True)
    base = combine(log_p, other, 2.0)
    torch.testing.assert_close(found, by_hand((base, x_t, t, asked), classifier, 1.5), rtol=0, atol=1e-6)


def test_what_completability_forbids_is_not_asked_about() -> None:
    # Token 0 must come in pairs: in a row of two with a 0, the other is a 0.
    base = Completable(Unguided(), K, Balance(even=(0,)))
    classifier = Network(K + 1, L)
    rows = Rows(torch.arange(40), L, torch.ones(40, 1))
    with count_forwards(classifier) as cost:
        x = FirstHittingSampler(Masked(K))(Blind(), rows, TokenChoice(base, classifier, 1, 2.0))
    pairs = (x == 0).sum(1)
    assert set(pairs.tolist()) == {0, 2}
    # The second token of a pair is certain, and of the others token 0 is out: two kinds.
    assert cost.rows == 40 * K + 2 * int((pairs == 0).sum())


def test_scales_that_are_none_and_rows_without_classes_are_refused() -> None:
    for scale in (-0.5, math.nan, math.inf):
        with pytest.raises(MoldiffError, match="guidance scale"):
            TokenChoice(Unguided(), Network(4, 1), 2, scale)
    log_p, x_t, t, _ = a_case(5)
    for cond in (None, torch.ones(4, 1)):
        with pytest.raises(MoldiffError, match="carry nothing asked"):
            Exact(Unguided(), Network(5, 3), 2)(asker(log_p, cond), x_t, t)


def test_the_likelihood_is_that_of_all_labels_asked() -> None:
    log_p = torch.tensor([[[0.2, 0.8], [0.6, 0.4]]]).log()
    for asked, want in (([1.0, 0.0], 0.48), ([math.nan, 1.0], 0.4), ([math.nan, math.nan], 1.0)):
        assert float(log_likelihoods(log_p, torch.tensor([asked])).sum().exp()) == pytest.approx(want)
    assert given(None) is None


def test_numbers_weigh_tokens_by_the_normal_law_within_the_tolerance() -> None:
    """Label 0 is a class, label 1 a number, whose mean and log s.d. the network tells."""
    (log_p, x_t, t, asked), network = a_case(5), Network(5, 3)
    asked = asked * torch.tensor([1.0, 0.7])

    def classifier(x: Tensor, when: Tensor) -> Tensor:
        return network(x, when).clamp(min=-2)

    def told(x: Tensor, when: Tensor) -> Tensor:
        answer = classifier(x, when)
        law = torch.distributions.Normal(answer[:, 1, 0], (answer[:, 1, 1].exp() ** 2 + 0.09).sqrt())
        # As classes: what is asked of a number is the one whose log-probability is the log-density.
        number = torch.stack([law.log_prob(torch.zeros(())), law.log_prob(torch.tensor(0.7))], -1)
        return torch.stack([answer[:, 0], number], 1)

    want = by_hand((log_p, x_t, t, (asked > 0).double().masked_fill(asked.isnan(), math.nan)), told, 2.0)
    for form in (Exact, TokenChoice):
        found = form(Unguided(), classifier, 2, 2.0, 7, (1,), 0.3)(asker(log_p, asked), x_t, t)
        torch.testing.assert_close(found, want, rtol=0, atol=1e-6)
