"""The API's limits: which pictures are admitted, scaling to fit, and splitting into batches."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persons.vision import limits
from persons.vision.types import Image


@pytest.mark.parametrize(
    ("width", "height", "admitted"),
    [
        (5, 5, True),
        (4, 5, False),
        (5, 4, False),
        (3840, 2160, True),
        (3841, 2160, False),
        (3840, 2161, False),
        (2160, 3840, False),
    ],
)
def test_a_picture_is_admitted_by_width_and_height(width: int, height: int, admitted: bool) -> None:
    assert limits.fits(width, height) is admitted


@settings(deadline=None)
@given(st.integers(5, 60_000), st.integers(5, 60_000))
def test_scaling_to_fit_gives_a_picture_within_the_limits(width: int, height: int) -> None:
    scale = limits.scale_to_fit(width, height)
    assert int(width * scale) <= limits.MAX_WIDTH
    assert int(height * scale) <= limits.MAX_HEIGHT
    assert scale == 1.0 or not limits.fits(width, height)


@settings(deadline=None)
@given(st.lists(st.integers(0, 9_000), max_size=40), st.integers(1, 7))
def test_batches_keep_every_image_in_order_within_both_limits(
    sizes: list[int], max_images: int
) -> None:
    images = [Image(str(i), b"x" * size) for i, size in enumerate(sizes)]
    batches = limits.split(images, max_images, 20_000)
    assert [image for batch in batches for image in batch] == images
    for batch in batches:
        assert 1 <= len(batch) <= max_images
        assert sum(len(image.data) for image in batch) <= 20_000


def test_an_image_above_the_limit_travels_alone() -> None:
    images = [Image("a", b"1"), Image("b", b"x" * 5000), Image("c", b"1")]
    names = [[image.name for image in batch] for batch in limits.split(images, 10, 4000)]
    assert names == [["a"], ["b"], ["c"]]


def test_a_batch_of_no_images_makes_no_sense() -> None:
    with pytest.raises(ValueError, match="max_images"):
        limits.split([Image("a", b"1")], 0)
