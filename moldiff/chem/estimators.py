"""Regressors that scikit-learn fits and that are stored, checked and evaluated as plain arrays."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self, final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Arrays = Mapping[str, NDArray[Any]]


class Estimator(Protocol):
    """A fitted regressor over F features."""

    def predict(self, features: NDArray[np.float32]) -> Floats:
        """The values (N,) for features (N, F)."""
        ...

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What the regressor is, by name; `restored` makes it of these again."""
        ...


@final
@dataclass(frozen=True, eq=False)
class Forest:
    """A random forest: the mean over T trees of the value at the leaf that is reached.

    Args:
        roots: (T,) the number of each tree's root among all M nodes.
        left: (M,) the node to go to where the feature is at most the threshold, the node itself at a leaf.
        right: (M,) the node to go to elsewhere.
        feature: (M,) the feature that a node asks for.
        threshold: (M,) what it is compared with.
        value: (M,) the mean target at a node.
    """

    roots: NDArray[np.int32]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    feature: NDArray[np.int32]
    threshold: NDArray[np.float32]
    value: Floats

    settings: ClassVar[dict[str, Any]] = {"n_estimators": 100, "max_features": 0.1, "min_samples_leaf": 1}

    @classmethod
    def fit(cls, features: NDArray[np.float32], targets: Floats, seed: int, workers: int) -> Self:
        """The forest that scikit-learn fits to features (N, F), whole numbers, and targets (N,)."""
        from sklearn.ensemble import RandomForestRegressor

        made = RandomForestRegressor(**cls.settings, random_state=seed, n_jobs=workers)
        trees = [each.tree_ for each in made.fit(features, targets).estimators_]
        sizes = np.array([tree.node_count for tree in trees])
        roots = np.cumsum(sizes) - sizes
        left, right = (
            np.concatenate([_onward(getattr(t, side), r) for t, r in zip(trees, roots, strict=True)])
            for side in ("children_left", "children_right")
        )
        return cls(
            roots.astype(np.int32),
            left,
            right,
            np.concatenate([np.maximum(tree.feature, 0) for tree in trees]).astype(np.int32),
            # Features are whole numbers and thresholds lie half-way between, so nothing is rounded.
            np.concatenate([tree.threshold for tree in trees]).astype(np.float32),
            np.concatenate([tree.value[:, 0, 0] for tree in trees]).astype(np.float64),
        )

    @classmethod
    def restored(cls, arrays: Arrays, features: int) -> Self:
        """The forest of stored arrays; KeyError or ValueError where they are none over that many features."""
        roots, left, right, feature = (
            _checked(arrays, name, np.int32) for name in ("roots", "left", "right", "feature")
        )
        threshold, value = _checked(arrays, "threshold", np.float32), _checked(arrays, "value", np.float64)
        nodes, own = len(value), np.arange(len(value))
        if not len(roots) or any(len(each) != nodes for each in (left, right, feature, threshold)):
            raise ValueError("trees of unequal lengths")
        leaf = (left == own) & (right == own)
        if not ((leaf | ((left > own) & (right > own))).all() and max(left.max(), right.max()) < nodes):
            raise ValueError("trees that do not run down to leaves")
        if roots.min() < 0 or roots.max() >= nodes or feature.min() < 0 or feature.max() >= features:
            raise ValueError("roots or features out of range")
        return cls(roots, left, right, feature, threshold, value)

    def arrays(self) -> dict[str, NDArray[Any]]:
        names = ("roots", "left", "right", "feature", "threshold", "value")
        return {name: getattr(self, name) for name in names}

    def predict(self, features: NDArray[np.float32]) -> Floats:
        count, trees = len(features), len(self.roots)
        node = np.tile(self.roots, count)
        # Only the pairs of a molecule and a tree that have not reached a leaf go on.
        active = np.flatnonzero(self.left[node] != node)
        while len(active):
            here = node[active]
            low = features[active // trees, self.feature[here]] <= self.threshold[here]
            there = np.where(low, self.left[here], self.right[here])
            node[active] = there
            active = active[self.left[there] != there]
        found: Floats = self.value[node].reshape(count, trees).mean(axis=1)
        return found


@final
@dataclass(frozen=True, eq=False)
class Ridge:
    """A linear regression with a quadratic penalty, whose weight is chosen by leave-one-out errors.

    Args:
        weights: (F,) one weight a feature.
        intercept: (1,) the value where all features are 0.
    """

    weights: Floats
    intercept: Floats

    settings: ClassVar[dict[str, Any]] = {"alphas": [0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0]}

    @classmethod
    def fit(cls, features: NDArray[np.float32], targets: Floats, seed: int, workers: int) -> Self:
        """The regression that scikit-learn fits to features (N, F) and targets (N,); nothing is drawn."""
        from sklearn.linear_model import RidgeCV

        made = RidgeCV(**cls.settings).fit(features.astype(np.float64), targets)
        return cls(made.coef_.astype(np.float64), np.array([made.intercept_], dtype=np.float64))

    @classmethod
    def restored(cls, arrays: Arrays, features: int) -> Self:
        """The regression of stored arrays; KeyError or ValueError where they are none of that size."""
        weights, intercept = (_checked(arrays, name, np.float64) for name in ("weights", "intercept"))
        if len(weights) != features or len(intercept) != 1:
            raise ValueError(f"{len(weights)} weights for {features} features")
        return cls(weights, intercept)

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"weights": self.weights, "intercept": self.intercept}

    def predict(self, features: NDArray[np.float32]) -> Floats:
        found: Floats = features.astype(np.float64) @ self.weights + self.intercept[0]
        return found


ESTIMATORS: dict[str, type[Forest] | type[Ridge]] = {"forest": Forest, "ridge": Ridge}
"""Every kind of regressor by name."""


def _onward(children: NDArray[Any], root: int) -> NDArray[np.int32]:
    """The children's numbers among all nodes; a leaf is its own."""
    own = np.arange(len(children))
    return np.asarray(np.where(children < 0, own, children) + root, dtype=np.int32)


def _checked(arrays: Arrays, name: str, kind: Any) -> NDArray[Any]:
    """The array of a name; KeyError where there is none, ValueError where it is of another type."""
    found = arrays[name]
    if found.dtype != kind or found.ndim != 1 or not np.isfinite(found).all():
        raise ValueError(f"{name}: {found.dtype} of shape {found.shape}")
    return found
