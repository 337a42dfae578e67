"""Compiled blocks: the same weights and answers as without, for rows of every length."""

import pytest
import torch

from moldiff.nn.compilation import compile_blocks, compiles
from moldiff.nn.transformer import Transformer, TransformerConfig

CPU = torch.device("cpu")


def network() -> Transformer:
    torch.manual_seed(0)
    net = Transformer(TransformerConfig(3, 4, 9, width=8, depth=2, heads=2))
    torch.nn.init.normal_(net.head.weight)
    for block in net.blocks:
        for layer in (block.out, block.down):
            torch.nn.init.normal_(layer.weight)
    return net


@pytest.mark.skipif(not compiles(CPU), reason="no C++ compiler on this machine")
@pytest.mark.filterwarnings("ignore")  # torch's own, while it compiles
def test_compiled_blocks_answer_as_plain_ones_and_learn_the_same() -> None:
    plain, compiled = network(), network()
    compile_blocks(compiled)
    assert compiled.state_dict().keys() == plain.state_dict().keys()
    for rows, length in ((5, 9), (3, 4), (2, 7)):
        x_t, t = torch.randint(4, (rows, length)), torch.rand(rows)
        ours, theirs = compiled(x_t, t), plain(x_t, t)
        torch.testing.assert_close(ours, theirs)
        ours.square().mean().backward()
        theirs.square().mean().backward()
    for mine, other in zip(compiled.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad)


def test_a_machine_without_a_compiler_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor import config

    monkeypatch.setattr(config.cpp, "cxx", ("/nowhere/g++",))
    assert not compiles(CPU)
    assert not compiles(torch.device("meta"))
