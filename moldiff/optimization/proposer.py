"""What a method of optimisation is, and the graph-based genetic algorithm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import Any, Protocol, final

from moldiff.chem.crossover import crossover
from moldiff.chem.mutation import mutated
from moldiff.optimization.address import address
from moldiff.optimization.population import by_worth


class Proposer(Protocol):
    """What proposes molecules, given good ones."""

    @property
    def population(self) -> int:
        """How many of the best molecules it is given."""
        ...

    @property
    def alike(self) -> int | None:
        """How many of them may share a Murcko scaffold; None for any number."""
        ...

    @property
    def offspring(self) -> int:
        """How many strings a generation asks it for."""
        ...

    def propose(self, parents: Sequence[str], scores: Sequence[float], n: int, seed: int) -> list[str]:
        """Up to n strings, molecules or not; the same for the same arguments.

        Args:
            parents: the good molecules, canonical SMILES, the best first; at least one.
            scores: their worths, 0 or above.
            n: how many strings are wanted.
            seed: of all that is drawn.
        """
        ...

    def identity(self) -> dict[str, Any]:
        """What fixes its proposals besides the arguments; JSON."""
        ...


@final
@dataclass(frozen=True)
class Genetic:
    """A genetic algorithm on molecular graphs, after Jensen (2019), with the sizes that PMO uses.

    Args:
        population: how many of the best molecules may be parents.
        offspring: children a generation.
        mutation_rate: the share of children that are changed once more after crossover.
    """

    population: int = 120
    offspring: int = 70
    mutation_rate: float = 0.067
    alike: None = None

    def propose(self, parents: Sequence[str], scores: Sequence[float], n: int, seed: int) -> list[str]:
        children = [self._child(parents, scores, Random(address(seed, number))) for number in range(n)]
        return [child for child in children if child is not None]

    def _child(self, parents: Sequence[str], scores: Sequence[float], random: Random) -> str | None:
        one, other = by_worth(scores, 2, random)
        child = crossover(parents[one], parents[other], random)
        if child is None or random.random() >= self.mutation_rate:
            return child
        return mutated(child, random) or child

    def identity(self) -> dict[str, Any]:
        return asdict(self)
