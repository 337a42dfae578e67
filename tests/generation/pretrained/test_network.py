"""What a published network computes, recomputed from the description of its layout alone."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from moldiff import load
from moldiff.generation.batches import Batches
from moldiff.generation.request import asked_for

Weights = dict[str, Tensor]
Floats = NDArray[np.float64]
HEADS, LENGTH, TOKENS = 2, 24, 280
# The recomputation: from the description of the layout alone, position by position, in float64.


def silu(x: Floats) -> Floats:
    return x / (1 + np.exp(-x))


def norm(x: Floats, weight: Floats) -> Floats:
    return weight * (x - x.mean()) / np.sqrt(x.var() + 1e-5)


def gelu(x: Floats) -> Floats:
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def turned(x: Floats, place: int) -> Floats:
    out, half = np.empty_like(x), len(x) // 2
    for i in range(half):
        angle = place * 10000 ** (-2 * i / len(x))
        out[i] = x[i] * math.cos(angle) - x[half + i] * math.sin(angle)
        out[half + i] = x[half + i] * math.cos(angle) + x[i] * math.sin(angle)
    return out


def attended(qkv: list[Floats], head: int) -> list[Floats]:
    """What one head makes of the positions."""
    width = len(qkv[0]) // 3
    size = width // HEADS
    q, k, v = ([row[part * width + head * size :][:size] for row in qkv] for part in range(3))
    q, k = ([turned(row, place) for place, row in enumerate(rows)] for rows in (q, k))
    out = []
    for row in q:
        scores = np.array([row @ key / math.sqrt(size) for key in k])
        chances = np.exp(scores - scores.max())
        out.append(sum(c * value for c, value in zip(chances / chances.sum(), v, strict=True)))
    return out


def recomputed(arrays: Weights, ids: list[int], sigma: float = 0.0) -> Floats:
    """Log p(x_0 | x_t) over the tokens, (L, K)."""
    w = {name.removeprefix("backbone."): each.double().numpy() for name, each in arrays.items()}

    def layer(name: str, x: Floats) -> Floats:
        out: Floats = w[name + ".weight"] @ x + w[name + ".bias"]
        return out

    frequencies = [math.exp(-math.log(10000) * j / 128) for j in range(128)]
    wave = [math.cos(sigma * f) for f in frequencies] + [math.sin(sigma * f) for f in frequencies]
    c = silu(layer("sigma_map.mlp.2", silu(layer("sigma_map.mlp.0", np.array(wave)))))
    x = [w["vocab_embed.embedding"][each] for each in ids]
    for i in range(2):
        b = f"blocks.{i}."
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = layer(b + "adaLN_modulation", c).reshape(6, -1)
        h = [norm(row, w[b + "norm1.weight"]) * (1 + scale_1) + shift_1 for row in x]
        qkv = [w[b + "attn_qkv.weight"] @ row for row in h]
        heads = [attended(qkv, head) for head in range(HEADS)]
        for p in range(len(ids)):
            joined = np.concatenate([head[p] for head in heads])
            x[p] = x[p] + gate_1 * (w[b + "attn_out.weight"] @ joined)
            h_p = norm(x[p], w[b + "norm2.weight"]) * (1 + scale_2) + shift_2
            x[p] = x[p] + gate_2 * layer(b + "mlp.2", gelu(layer(b + "mlp.0", h_p)))
    shift, scale = layer("output_layer.adaLN_modulation", c).reshape(2, -1)
    out = []
    for row in x:
        logits = layer(
            "output_layer.linear", norm(row, w["output_layer.norm_final.weight"]) * (1 + scale) + shift
        )
        known = logits[:-1]
        out.append(known - known.max() - math.log(np.exp(known - known.max()).sum()))
    return np.stack(out)


IDS = [280, 3, 280, 280, 17, 279, 0, 280, 101, 280, 280, 5]


@pytest.mark.parametrize("ids", [IDS, [280] * LENGTH, [8]], ids=["mixed", "all masks", "one token"])
def test_the_network_computes_what_was_published(folder: Path, weights: Weights, ids: list[int]) -> None:
    model = load(f"hf:{folder}", "cpu")
    expected = recomputed(weights, ids)
    with torch.inference_mode():
        found = model.network(torch.tensor([ids, ids]), torch.tensor([0.3, 1.0]))
    assert found.shape == (2, len(ids), TOKENS)
    assert expected.max() - expected.min() > 3
    # Single precision has seven digits, and values go to 35.
    np.testing.assert_allclose(found[0].double(), expected, rtol=1e-6, atol=1e-5)
    # It is not told the time.
    assert found[0].equal(found[1])


@pytest.mark.parametrize("t", [0.0, 0.4, 1.0])
def test_a_network_that_is_told_the_time_is_told_the_noise_level(
    copy: Path, weights: Weights, config: dict[str, Any], t: float
) -> None:
    facts = json.dumps({**config, "time_conditioning": True})
    (copy / "config.json").write_text(facts, "utf-8")
    model = load(f"hf:{copy}", "cpu")
    expected = recomputed(weights, IDS, -math.log(1 - (1 - 1e-3) * t))
    with torch.inference_mode():
        found = model.network(torch.tensor([IDS]), torch.tensor([t]))
    np.testing.assert_allclose(found[0].double(), expected, rtol=1e-6, atol=1e-5)
    assert (t == 0) == bool(np.allclose(expected, recomputed(weights, IDS), atol=1e-3))


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float64])
def test_weights_of_another_precision_are_taken_as_they_are(
    copy: Path, weights: Weights, kind: torch.dtype
) -> None:
    stored = {name: each.to(kind) for name, each in weights.items()}
    save_file(stored, copy / "model.safetensors")
    with torch.inference_mode():
        found = load(f"hf:{copy}", "cpu").network(torch.tensor([IDS]), torch.zeros(1))
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found[0].double(), recomputed(stored, IDS), rtol=1e-6, atol=1e-5)


def test_rows_have_the_one_length_and_every_token_can_come(folder: Path, weights: Weights) -> None:
    """Drawn in one go from pure masks, tokens follow the network's own law."""
    model = load(f"hf:{folder}", "cpu")
    batches = Batches(model, asked_for(3000, sampler="mdlm", steps=1, top_p=1.0))
    rows = [row for _, tokens in batches.draw(np.arange(3000)) for row in tokens]
    assert {len(row) for row in rows} == {LENGTH}
    chances = np.exp(recomputed(weights, [280] * LENGTH)[4])
    seen = np.bincount([row[4] for row in rows], minlength=TOKENS)
    # Pearson's statistic of the common tokens and of the rest together, within four deviations.
    common = chances > 0.005
    observed = np.append(seen[common], seen[~common].sum())
    expected = 3000 * np.append(chances[common], chances[~common].sum())
    statistic, free = float(((observed - expected) ** 2 / expected).sum()), len(expected) - 1
    assert statistic < free + 4 * math.sqrt(2 * free)
    assert batches.spent.rows == 3000
