"""Forward processes and the reverse of one step: Bayes' rule, checked by enumeration."""

from typing import Any

import pytest
import torch
from torch import Tensor

from moldiff.diffusion.categorical import one_hot
from moldiff.diffusion.process import Masked, Process, Uniform
from moldiff.diffusion.random import RowRandom, Stream
from moldiff.diffusion.remasking import DFM, ForwardBackward, Rates, Step, unmask_rate
from moldiff.diffusion.schedule import LogLinear
from moldiff.errors import MoldiffError

EXACT: dict[str, Any] = {"rtol": 0, "atol": 1e-12}
LEVELS = [(0.1, 0.4), (0.3, 0.31), (0.7, 0.95), (0.02, 0.9), (0.9, 0.97)]


def simplex(rows: int, length: int, tokens: int, seed: int = 0) -> Tensor:
    source = torch.Generator().manual_seed(seed)
    return torch.rand(rows, length, tokens, generator=source, dtype=torch.float64).softmax(-1)


def step_of(process: Process, alpha_t: float, alpha_s: float) -> Step:
    top = process.max_sigma(alpha_t, alpha_s)
    return Step(1 - alpha_t, 1 - alpha_s, alpha_t, alpha_s, top)


def kernel(process: Process, alpha: float) -> Tensor:
    """q(z' | z) for a forward stretch that keeps a token with chance alpha, (S, S)."""
    eye = torch.eye(process.num_states, dtype=torch.float64)
    return alpha * eye + (1 - alpha) * process.noise(eye)


@pytest.mark.parametrize(("alpha_t", "alpha_s"), LEVELS)
def test_forward_stretches_compose(process: Process, alpha_t: float, alpha_s: float) -> None:
    clean = torch.eye(process.num_tokens, dtype=torch.float64)
    twice = process.marginal(clean, alpha_s) @ kernel(process, alpha_t / alpha_s)
    torch.testing.assert_close(twice, process.marginal(clean, alpha_t), **EXACT)


def test_noising_keeps_the_share_that_alpha_says() -> None:
    rows, length = 4000, 8
    x_0 = torch.arange(length).remainder(3).repeat(rows, 1)
    t = torch.full((rows,), 0.3, dtype=torch.float64)
    draw = RowRandom(5).uniform(torch.arange(rows), 0, 2 * length, Stream.NOISE)
    uniform = torch.stack(draw.chunk(2, 1))
    share = (Masked(3).q_sample(x_0, t, uniform) == 3).double().mean()
    intact = (Uniform(3).q_sample(x_0, t, uniform) == x_0).double().mean()
    sd = (0.3 * 0.7 / (rows * length)) ** 0.5
    assert abs(share - 0.3) < 4 * sd
    assert abs(intact - (0.7 + 0.3 / 3)) < 4 * sd


def test_noising_is_exact_at_both_ends(process: Process) -> None:
    x_0 = torch.tensor([[0, 1, 2, 1]])
    uniform = RowRandom(0).uniform(torch.arange(1), 0, 8, Stream.NOISE).view(2, 1, 4)
    assert process.q_sample(x_0, torch.zeros(1), uniform).equal(x_0)
    assert process.q_sample(x_0, torch.ones(1), uniform).equal(process.prior(uniform[1]))


def test_prior_follows_the_noise(process: Process) -> None:
    uniform = RowRandom(1).uniform(torch.arange(300), 0, 30, Stream.NOISE)
    seen = one_hot(process.prior(uniform), process.num_states, torch.float64).mean((0, 1))
    assert (seen - process.noise(seen)).abs().max() < 4 * (0.25 / 9000) ** 0.5
    edge = torch.tensor([[0.0, 1 - 2**-53]], dtype=torch.float64)
    assert process.prior(edge).max() < process.num_states


def test_carry_over_makes_certain_what_is_visible_and_leaves_its_input_alone() -> None:
    logits = torch.randn(2, 4, 3, requires_grad=True)
    x_t = torch.tensor([[0, 3, 2, 3], [3, 1, 3, 3]])
    p = logits.softmax(-1)
    before = p.detach().clone()
    carried = Masked(3).carry_over(p, x_t)
    visible = x_t < 3
    torch.testing.assert_close(carried.sum(-1), torch.ones(2, 4), rtol=0, atol=1e-6)
    assert carried[visible].equal(one_hot(x_t[visible], 3))
    assert carried[~visible].equal(p[~visible])
    assert p.equal(before)
    carried.square().sum().backward()
    assert logits.grad is not None
    assert logits.grad[visible].eq(0).all()
    assert logits.grad[~visible].ne(0).any()


@pytest.mark.parametrize(("alpha_t", "alpha_s"), LEVELS)
def test_posterior_is_bayes(process: Process, alpha_t: float, alpha_s: float) -> None:
    states = process.num_states
    x_t = torch.arange(states)[None]
    p = process.carry_over(simplex(1, states, process.num_tokens), x_t)
    prior_s = process.marginal(p, alpha_s)[0]
    joint = prior_s * kernel(process, alpha_t / alpha_s).T
    bayes = joint / joint.sum(-1, keepdim=True)
    posterior = process.posterior(p, x_t, alpha_t, alpha_s)[0]
    torch.testing.assert_close(posterior, bayes, **EXACT)
    torch.testing.assert_close(posterior.sum(-1), torch.ones_like(posterior[:, 0]), **EXACT)


def test_posterior_for_a_known_token_is_bayes_over_all_three_times(process: Process) -> None:
    alpha_t, alpha_s = 0.3, 0.6
    for token in range(process.num_tokens):
        x_t = torch.arange(process.num_states)[None]
        if isinstance(process, Masked):
            x_t = torch.tensor([[token, process.num_tokens]])
        p = one_hot(torch.full_like(x_t, token), process.num_tokens, torch.float64)
        at_s = process.marginal(p, alpha_s)[0]
        joint = at_s[:, :] * kernel(process, alpha_t / alpha_s).T[x_t[0]]
        bayes = joint / joint.sum(-1, keepdim=True)
        torch.testing.assert_close(process.posterior(p, x_t, alpha_t, alpha_s)[0], bayes, **EXACT)


def test_posterior_at_the_ends(process: Process) -> None:
    x_t = torch.arange(process.num_states)[None]
    p = simplex(1, process.num_states, process.num_tokens)
    still = process.posterior(p, x_t, 0.4, 0.4)
    torch.testing.assert_close(still, one_hot(x_t, process.num_states, p.dtype), **EXACT)
    clean = process.posterior(p, x_t, 0.4, 1.0)
    assert clean[..., process.num_tokens :].eq(0).all()


def test_uniform_posterior_as_printed_and_its_clean_end() -> None:
    # Schiff et al., 2024, eq. 16, for an arbitrary prediction.
    n, a_t, a_s = 3, 0.35, 0.8
    process, x_t = Uniform(n), torch.arange(n)[None]
    x, z = simplex(1, n, n), torch.eye(n, dtype=torch.float64)[None]
    ratio = a_t / a_s
    top = n * a_t * z * x + (ratio - a_t) * z + (a_s - a_t) * x + (1 - ratio) * (1 - a_s) / n
    printed = top / (n * a_t * (z * x).sum(-1, keepdim=True) + 1 - a_t)
    torch.testing.assert_close(process.posterior(x, x_t, a_t, a_s), printed, **EXACT)
    clean = x * (n * a_t * z + 1 - a_t)
    clean = clean / clean.sum(-1, keepdim=True)
    torch.testing.assert_close(process.posterior(x, x_t, a_t, 1.0), clean, **EXACT)


@pytest.mark.parametrize("tokens", [2, 4])
def test_uniform_step_commutes_with_renaming_the_tokens(tokens: int) -> None:
    process = Uniform(tokens)
    renamed = torch.randperm(tokens, generator=torch.Generator().manual_seed(1))
    x_t = torch.arange(tokens)[None]
    p = simplex(1, tokens, tokens)
    step = step_of(process, 0.3, 0.5)
    rates = Rates(0.0, 0.2)
    plain = process.transition(p, x_t, step, rates)
    p_new = torch.empty_like(p)
    p_new[..., renamed] = p
    moved = process.transition(p_new, renamed[x_t], step, rates)
    torch.testing.assert_close(moved[..., renamed], plain, **EXACT)


@pytest.mark.parametrize(("alpha_t", "alpha_s"), [*LEVELS, (0.0, 0.3), (0.2, 1.0), (0.0, 1.0)])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_every_legal_sigma_keeps_the_marginal(
    process: Process, alpha_t: float, alpha_s: float, share: float
) -> None:
    step = step_of(process, alpha_t, alpha_s)
    sigma = share * step.max_sigma
    rates = Rates(unmask_rate(step, sigma), sigma)
    states, tokens = process.num_states, process.num_tokens
    x_t = torch.arange(states)[None]
    for token in range(tokens):
        p = one_hot(torch.full_like(x_t, token), tokens, torch.float64)
        weight = process.marginal(p, alpha_t)[0, 0]
        reachable = weight > 0
        onward = process.transition(p, x_t, step, rates)[0]
        assert (onward[reachable] >= -1e-15).all()
        after = (weight[reachable, None] * onward[reachable]).sum(0)
        torch.testing.assert_close(after, process.marginal(p, alpha_s)[0, 0], **EXACT)


@pytest.mark.parametrize(("alpha_t", "alpha_s"), LEVELS)
@pytest.mark.parametrize("share", [0.0, 0.2, 0.7, 1.0])
def test_masked_remasking_is_a_mix_of_posterior_and_marginal(
    alpha_t: float, alpha_s: float, share: float
) -> None:
    # lambda = sigma / (1 - alpha_s) may exceed 1, where 1 - lambda is then negative.
    process = Masked(3)
    step = step_of(process, alpha_t, alpha_s)
    sigma = share * step.max_sigma
    x_t = torch.arange(process.num_states)[None]
    p = simplex(1, process.num_states, process.num_tokens)
    rates = Rates(unmask_rate(step, sigma), sigma)
    mix = sigma / (1 - alpha_s)
    posterior = process.posterior(p, x_t, alpha_t, alpha_s)
    fresh = process.marginal(process.carry_over(p, x_t), alpha_s)
    expected = (1 - mix) * posterior + mix * fresh
    torch.testing.assert_close(process.transition(p, x_t, step, rates), expected, **EXACT)


@pytest.mark.parametrize(("alpha_t", "alpha_s"), LEVELS)
@pytest.mark.parametrize("share", [0.0, 0.2, 0.7, 1.0])
def test_remasking_is_a_longer_step_and_noise_on_top(
    process: Process, alpha_t: float, alpha_s: float, share: float
) -> None:
    # A stretch of the forward process turns a token into noise with the chance sigma.
    step = step_of(process, alpha_t, alpha_s)
    sigma = share * (1 - alpha_s)
    x_t = torch.arange(process.num_states)[None]
    p = simplex(1, process.num_states, process.num_tokens)
    rates = Rates(unmask_rate(step, sigma), sigma)
    further = process.posterior(p, x_t, alpha_t, min(1.0, alpha_s / (1 - sigma)))
    expected = further @ kernel(process, 1 - sigma)
    torch.testing.assert_close(process.transition(p, x_t, step, rates), expected, **EXACT)


def test_the_mix_is_tested_with_a_negative_weight() -> None:
    step = step_of(Masked(3), 0.3, 0.31)
    assert step.max_sigma / (1 - step.alpha_s) > 1.4


@pytest.mark.parametrize(("alpha_t", "alpha_s"), LEVELS)
def test_masked_step_as_printed(alpha_t: float, alpha_s: float) -> None:
    # Wang et al., 2025, eq. 4-5: entries in [0, 1] up to max_sigma, one negative beyond it.
    process = Masked(3)
    step = step_of(process, alpha_t, alpha_s)
    x_t, p = torch.tensor([[3, 1]]), simplex(1, 2, 3)

    def at(sigma: float) -> Tensor:
        return process.transition(p, x_t, step, Rates(unmask_rate(step, sigma), sigma))[0]

    for share in (0.0, 0.5, 1.0):
        sigma = share * step.max_sigma
        out = at(sigma)
        u = (alpha_s - (1 - sigma) * alpha_t) / (1 - alpha_t)
        stay = (1 - alpha_s - sigma * alpha_t) / (1 - alpha_t)
        torch.testing.assert_close(out[0, :3], u * p[0, 0], **EXACT)
        assert out[0, 3] == pytest.approx(stay, abs=1e-12)
        assert out[1].tolist() == pytest.approx([0, 1 - sigma, 0, sigma], abs=1e-12)
        assert ((out > -1e-15) & (out < 1 + 1e-15)).all()
        torch.testing.assert_close(out.sum(-1), torch.ones(2, dtype=torch.float64), **EXACT)
    assert at(1.01 * step.max_sigma).min() < 0


@pytest.mark.parametrize(("alpha_t", "alpha_s"), LEVELS)
def test_masked_step_is_a_predictor_then_a_corrector(alpha_t: float, alpha_s: float) -> None:
    # Theorem 4.1: go t -> s without remasking, then remask with sigma and reveal with
    # sigma alpha_s / (1 - alpha_s) at s.
    process = Masked(3)
    step = step_of(process, alpha_t, alpha_s)
    sigma = 0.6 * step.max_sigma
    x_t, p = torch.tensor([[3, 1]]), simplex(1, 2, 3)
    once = process.transition(p, x_t, step, Rates(unmask_rate(step, sigma), sigma))[0]
    predicted = process.transition(p, x_t, step, Rates(unmask_rate(step, 0.0), 0.0))[0]
    revealed = sigma * alpha_s / (1 - alpha_s)
    for row, clean in enumerate((p[0, 0], one_hot(torch.tensor(1), 3, p.dtype))):
        corrector = torch.eye(4, dtype=p.dtype)
        corrector[:3] = (1 - sigma) * torch.eye(3, 4, dtype=p.dtype)
        corrector[:3, 3] = sigma
        corrector[3] = torch.cat([revealed * clean, torch.tensor([1 - revealed], dtype=p.dtype)])
        torch.testing.assert_close(predicted[row] @ corrector, once[row], **EXACT)


def test_forward_backward_is_a_step_ahead_and_a_forward_step_back() -> None:
    # Reveal with the ancestral rate of t -> s, and forget s -> t at the same speed.
    process = Masked(3)
    step = step_of(process, 0.5, 0.6)
    sigma = ForwardBackward().sigma(step)
    assert sigma == pytest.approx((0.6 - 0.5) / 0.5, abs=1e-12)
    assert unmask_rate(step, sigma) == pytest.approx(2 * (0.6 - 0.5) / (1 - 0.5), abs=1e-12)


def test_flow_matching_corrector_reveals_faster_by_beta() -> None:
    step = Step(0.5, 0.49, 0.5, 0.51, Masked(3).max_sigma(0.5, 0.51))
    dfm = DFM(scale=4.0)
    beta = 4.0 * (0.5 * 0.5) ** 0.25
    assert dfm.beta(0.5) == pytest.approx(beta, abs=1e-12)
    assert dfm.sigma(step) == pytest.approx(beta * 0.01 / 0.5, abs=1e-12)
    assert unmask_rate(step, dfm.sigma(step)) == pytest.approx((1 + beta) * 0.01 / 0.5, abs=1e-12)


def test_weight_of_the_remasking_bound_grows_with_sigma() -> None:
    # Its size is the chance to reveal: u >= 0, and larger the more is remasked.
    step = step_of(Masked(3), 0.5, 0.6)
    sizes = [unmask_rate(step, k / 10 * step.max_sigma) for k in range(11)]
    assert min(sizes) >= 0
    assert sizes == sorted(sizes)
    assert len(set(sizes)) == 11


def test_uniform_takes_no_sigma_above_what_noise_there_is() -> None:
    assert Uniform(3).max_sigma(0.2, 0.7) == pytest.approx(0.3)
    assert Masked(3).max_sigma(0.0, 0.7) == 1.0
    assert Masked(3).max_sigma(0.2, 0.7) == 1.0
    assert Masked(3).max_sigma(0.6, 0.7) == pytest.approx(0.5)


@pytest.mark.parametrize("kind", [Masked, Uniform])
def test_a_process_needs_a_token(kind: type[Masked] | type[Uniform]) -> None:
    with pytest.raises(MoldiffError, match="num_tokens"):
        kind(0, LogLinear())
