"""Property test: human decisions survive every rescan, in any order of events.

A random world has uploads, names, rejections, ignored faces, undos, removed pictures and rescans.
Its Vision moves boxes, drops and invents faces, changes its mind, mixes up its answers, fails, and
is overtaken by people and other workers while it answers. After every step, the decisions are
compared with a model that is too simple to be wrong.
"""

from __future__ import annotations

from contextlib import ExitStack
from random import Random

import pytest
from django.db import transaction
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.support.decisions import World
from tests.support.fakes import (
    FakeVision,
    use,
)

pytestmark = pytest.mark.thorough


@pytest.mark.django_db
@settings(
    max_examples=settings().max_examples // 10,
    deadline=None,
    # With dice that fall anew for each shorter list, cutting down takes minutes and gains little.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(
    steps=st.lists(st.sampled_from(World.STEPS), min_size=25, max_size=40),
    # Not Hypothesis's own choices: it likes to repeat itself, and these are thousands.
    dice=st.randoms(use_true_random=True),
)
def test_what_people_decided_outlives_whatever_recognition_does(
    steps: list[str], dice: Random
) -> None:
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr("persons.tasks.enqueue", lambda work: None)
        example = transaction.atomic()
        # Part of the test, as its own transaction is: Vision may be asked inside it.
        vars(example)["_from_testcase"] = True
        stack.enter_context(example)
        stack.callback(transaction.set_rollback, True)
        world = World(use(patch, FakeVision()))
        for step in steps:
            getattr(world, step)(dice)
            world.check()
        world.come_to_rest()
        world.check()
