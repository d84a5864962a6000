"""The judgement of bench/strangers.py finds a difference where there is one, says how large it is, and finds none in noise."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest


@pytest.fixture(scope="module")
def pairs(module_of: Callable[[str], ModuleType]) -> ModuleType:
    return module_of("bench/pairs.py")


def times(seed: int, count: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Pairs as a busy machine gives them: what it does meanwhile is the same for both and changes slowly, and some answers wait
    long."""
    random = np.random.default_rng(seed)
    meanwhile = 2000 + 1500 * np.abs(np.sin(np.arange(count) / 20))
    return tuple(
        meanwhile + random.normal(0, 60, count) + random.exponential(3000, count) * (random.random(count) < 0.05) for _ in "ab"
    )


def test_a_small_difference_is_found_in_noise_that_is_many_times_as_large(pairs: ModuleType) -> None:
    first, second = times(1)
    found = pairs.difference(first + 40, second)
    assert found.low < 40 < found.high
    assert found.high - found.low < 40
    assert pairs.real([found]) == [True]
    # Which of the two takes longer is told too.
    turned = pairs.difference(second, first + 40)
    assert (turned.typical, turned.low, turned.high) == pytest.approx((-found.typical, -found.high, -found.low))
    assert turned.p == pytest.approx(found.p)


def test_no_difference_is_called_real_in_noise_however_many_are_looked_at(pairs: ModuleType) -> None:
    found = [pairs.difference(*times(seed)) for seed in range(100)]
    assert not any(pairs.real(found))
    # By themselves some would look like one, about as many as chance has it.
    assert 0 < sum(one.p < 0.05 for one in found) < 15
    assert sum(one.low <= 0 <= one.high for one in found) > 85
    wanted = pairs.difference(*(one + shift for one, shift in zip(times(101), (40, 0), strict=True)))
    assert pairs.real([*found, wanted]) == [False] * 100 + [True]


def test_equal_times_are_no_difference_and_separate_boxes_are_one(pairs: ModuleType) -> None:
    same = pairs.difference([5.0] * 20, [5.0] * 20)
    assert (same.typical, same.low, same.high, same.p, same.apart) == (0, 0, 0, 1, False)
    first, second = times(2)
    assert pairs.difference(first + 1000, second).apart
    with pytest.raises(ValueError, match="ten pairs"):
        pairs.difference([1.0] * 9, [1.0] * 9)
