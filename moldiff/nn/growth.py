"""Trained weights in another network: one with more blocks, tokens, places or conditions, or a classifier."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from moldiff.nn.classifier import Classifier
from moldiff.nn.transformer import Transformer

#: Tables with one row a token: what is read, and what is predicted.
BY_TOKEN = ("tokens.weight", "head.weight", "head.bias")


@torch.no_grad()
def grow(
    network: Transformer, trained: Mapping[str, Tensor], known: int, slots: Sequence[int | None]
) -> None:
    """Fills a fresh network with the weights of a smaller trained one of the same width and options.

    Blocks beyond the trained ones follow these; as fresh ones add nothing yet, the function stays. Ids below
    ``known`` stay, new ids follow, and what stood behind (padding, mask) moves up behind those. For rows that
    the trained network takes, told nothing or the conditions it knows, both networks give the known tokens
    the same log-probabilities up to a constant a position, at most log(1 + new / known).

    Args:
        network: fresh, with as many blocks, tokens, places and conditions as ``trained`` or more.
        trained: the state of the trained network.
        known: ids that mean the same in both.
        slots: for each condition of ``network``, its number in ``trained``, None where it is new there.
    """
    fresh = network.state_dict()
    old = {name: value.to(torch.float32) for name, value in trained.items()}
    state = {name: old.get(name, value) for name, value in fresh.items()}
    for name in BY_TOKEN:
        state[name] = _more_tokens(old[name], fresh[name], known)
    state["edges"] = _more_places(old["edges"], fresh["edges"].shape[1])
    for new, number in enumerate(slots):
        for name in (n for n in fresh if n.startswith(f"conditions.values.{new}.")):
            part = name.rpartition(".")[2]
            state[name] = fresh[name] if number is None else old[f"conditions.values.{number}.{part}"]
    if slots:
        rows = zip(fresh["conditions.null"], slots, strict=True)
        null = [row if number is None else old["conditions.null"][number] for row, number in rows]
        state["conditions.null"] = torch.stack(null)
    # The network learnt with the null of every condition added; that of a condition given up stays as a bias.
    given_up = [row for number, row in enumerate(old.get("conditions.null", ())) if number not in slots]
    if given_up and network.time is None:
        state["edges"][0] += torch.stack(given_up).sum(0)
    elif given_up:
        state["time.net.2.bias"] = old["time.net.2.bias"] + torch.stack(given_up).sum(0)
    network.load_state_dict(state)


@torch.no_grad()
def borrow(classifier: Classifier, trained: Mapping[str, Tensor]) -> None:
    """Fills a fresh classifier with a denoiser's embeddings and first blocks, told nothing; its head stays.

    Args:
        classifier: fresh, of the same vocabulary, width and heads, with as many places or more.
        trained: the state of the denoiser.
    """
    fresh = classifier.state_dict()
    old = {name: value.to(torch.float32) for name, value in trained.items() if not name.startswith("head.")}
    edges = _more_places(old.pop("edges"), fresh["edges"].shape[1])
    if "conditions.null" in old:
        nothing = old["conditions.null"].sum(0)
        edges[0] += nothing if classifier.time is None else 0
        if "time.net.2.bias" in old:
            old["time.net.2.bias"] = old["time.net.2.bias"] + nothing
    classifier.load_state_dict({**fresh, **{n: v for n, v in old.items() if n in fresh}, "edges": edges})


def _more_tokens(old: Tensor, fresh: Tensor, known: int) -> Tensor:
    """A table (S', ...) with rows for new tokens between the known ones and those behind them.

    A new row is the mean of the known. As an output that is their mean logit, which is at most the logit of
    their mean probability, so each new token is at most as likely as a known one is on average. What is read
    is told apart by the fresh draw.
    """
    mean = old[:known].mean(0, keepdim=True)
    new = fresh[known : known + len(fresh) - len(old)]
    # A fresh output is zero, a fresh embedding a small random vector.
    return torch.cat([old[:known], mean + new, old[known:]])


def _more_places(old: Tensor, places: int) -> Tensor:
    """Tables (2, places, D): beyond the known places, the mean of the farther half of these."""
    far = old[:, old.shape[1] // 2 :].mean(1, keepdim=True)
    return torch.cat([old, far.expand(-1, places - old.shape[1], -1)], 1)
