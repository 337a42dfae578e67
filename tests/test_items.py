"""What rows keep: where the tokens stand, and rows that cannot keep them."""

import pytest

from moldiff.errors import MoldiffError
from moldiff.types import Kept


def test_start_and_end_leave_the_middle_free() -> None:
    kept = Kept((1, 2), (3,))
    assert kept.least == 3
    assert kept.places(3) == (1, 2, 3)
    assert kept.places(5) == (1, 2, None, None, 3)


def test_a_whole_row_keeps_its_places() -> None:
    kept = Kept(whole=(None, 4, None))
    assert kept.places(3) == (None, 4, None)
    for length in (2, 4):
        with pytest.raises(MoldiffError, match=f"got 3 places to keep, a row has {length}"):
            kept.places(length)


def test_a_row_is_not_too_short() -> None:
    with pytest.raises(MoldiffError, match="got 3 places to keep, a row has 2"):
        Kept((1, 2), (3,)).places(2)
    assert Kept().places(2) == (None, None)
