"""The recogniser finds exactly one face in each picture that is enrolled."""

from __future__ import annotations

import io
import random
from functools import cache
from pathlib import Path

import pytest
from PIL import Image

from persons.engine.faces import FaceReader
from persons.engine.weights import Weights
from persons.images import enrolment_crop, open_oriented, sent_copy
from persons.vision.types import Box

pytestmark = pytest.mark.thorough

PORTRAITS = Path(__file__).resolve().parents[2] / "demo" / "photos"
NAMES = ("ardern_1", "collins_1", "macron_2", "obama_1", "sunak_1")


@cache
def reader() -> FaceReader:
    return FaceReader(Weights.default())


@cache
def portrait(name: str) -> tuple[Image.Image, Box]:
    with (PORTRAITS / f"{name}.jpg").open("rb") as file:
        image = open_oriented(file)
    copy = sent_copy(image)
    (face,) = reader().read(copy.data)
    return image, copy.to_original(face.box)


def group(seed: int, face_width: int, margin: float, overlap: float) -> Image.Image:
    """A row of five people; each covers a part of the one before, at about the given face width.

    `margin` is what is left around each face before they are put together, as a part of it.
    """
    rng = random.Random(seed)
    canvas = Image.new("RGB", (face_width * 12, face_width * 4), (90, 110, 90))
    x = face_width // 2
    for name in rng.sample(NAMES, len(NAMES)):
        image, box = portrait(name)
        width, height = box.right - box.left, box.bottom - box.top
        head = image.crop(
            (
                max(0, box.left - round(width * margin)),
                max(0, box.top - round(height * margin)),
                min(image.width, box.right + round(width * margin)),
                min(image.height, box.bottom + round(height * margin)),
            )
        )
        scale = face_width * rng.uniform(0.7, 1.2) / width
        head = head.resize((round(head.width * scale), round(head.height * scale)))
        canvas.paste(head, (x, face_width // 2 + rng.randrange(face_width // 3)))
        x += round(head.width * (1 - overlap))
    return canvas


@pytest.mark.parametrize("face_width", [40, 120, 300])
@pytest.mark.parametrize("margin", [0.1, 0.5])
@pytest.mark.parametrize("overlap", [0.0, 0.2])
def test_every_face_of_a_tight_group_is_enrolled_alone_and_as_itself(
    face_width: int, margin: float, overlap: float
) -> None:
    image = group(11, face_width, margin, overlap)
    copy = sent_copy(image)
    found = reader().read(copy.data)
    assert len(found) >= 4, "the group itself is recognised"
    boxes = [copy.to_original(face.box) for face in found]
    vectors = [face.vector for face in found]

    for index, box in enumerate(boxes):
        others = [other for other in boxes if other != box]
        faces = reader().read(enrolment_crop(image, box, others))
        assert len(faces) == 1
        likeness = [float(faces[0].vector @ vector) for vector in vectors]
        assert likeness.index(max(likeness)) == index


def test_without_painting_the_neighbours_out_there_would_be_several_faces() -> None:
    image = group(11, 120, 0.1, 0.0)
    boxes = [face.box for face in reader().read(sent_copy(image).data)]
    assert len(reader().read(enrolment_crop(image, boxes[2]))) > 1


def test_the_crop_of_a_portrait_holds_its_one_face() -> None:
    for name in NAMES:
        image, box = portrait(name)
        buffer = io.BytesIO(enrolment_crop(image, box))
        assert len(reader().read(buffer.getvalue())) == 1
