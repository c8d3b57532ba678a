"""The operator is killed before and after every write it makes, and loses every answer once.

Each plan plays a whole story in a namespace of its own. Its end must equal that of the
undisturbed story, every object must have been created and deleted as often, and no pod may have
run twice.
"""

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.integration import samples
from tests.integration.conftest import Stage, make_namespace
from tests.integration.oracles import differences, made, snapshot
from tests.integration.proxy import Fault
from tests.integration.puppet import Actor, End, succeeded, train_for_ever
from tests.integration.watching import job_phase, serves, settled
from torchyard.api.contract import Outcome, Termination

Story = Callable[[Stage, str], Awaitable[None]]

_log = logging.getLogger(__name__)


async def fails_once(actor: Actor) -> End:
    """Worker 1 of the first attempt dies; the second attempt succeeds."""
    await actor.noticed()
    if actor.attempt > 0 and not actor.leaving.is_set():
        return succeeded(actor)
    if actor.worker == 1:
        said = Termination(outcome=Outcome.PROCESS_FAILED, message="boom", rank=1, exit_code=1)
        return End(1, said)
    return await train_for_ever(actor)


async def training(stage: Stage, namespace: str) -> None:
    """A job whose gang is restarted once, and that registers what it made."""
    stage.puppet.worker = fails_once
    await stage.kube.create(samples.job(namespace))
    await job_phase(stage, namespace, "Succeeded")


async def rollout(stage: Stage, namespace: str) -> None:
    """A service that is created, and then moves to another version."""
    for number in (1, 2):
        await stage.kube.create(samples.version(namespace, number))
    await stage.kube.create(samples.service(namespace, 1))
    await serves(stage, namespace, 1)
    change = {"spec": {"model": {"version": 2}}}
    await stage.kube.patch("ModelService", namespace, "svc", change)
    await serves(stage, namespace, 2)


@dataclass
class Played:
    """What is left of a story."""

    end: dict[str, str]
    made: Counter[str]
    twice: list[str]
    reached: bool


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("story", [training, rollout])
async def test_a_crash_at_any_write_changes_nothing(stage: Stage, story: Story) -> None:
    async with stage.supervised():
        reference = await _play(stage, story, None)
        writes = len(stage.proxy.writes)
        assert not reference.twice
        wrong: list[str] = []
        reached = 0
        for fault in _plans(writes):
            played = await _play(stage, story, fault)
            reached += played.reached
            wrong += [f"{fault}: {told}" for told in _compare(reference, played)]
        _log.info("%s: %d writes, %d plans reached", story.__name__, writes, reached)
        assert not wrong, "\n".join(wrong)
        assert reached >= 2 * writes, "nearly every plan must have met its write"


def _plans(writes: int) -> Iterator[Fault]:
    for number in range(1, writes + 1):
        for kind in ("before", "after", "lost"):
            yield Fault(number, kind)


async def _play(stage: Stage, story: Story, fault: Fault | None) -> Played:
    stage.puppet.reset()
    namespace = await make_namespace(stage.kube)
    stage.proxy.arm(fault)
    try:
        await story(stage, namespace)
        await settled(stage, namespace)
        return Played(
            end=await snapshot(stage.kube, namespace),
            made=made(stage.control_plane, namespace),
            twice=[pod for (_, pod), times in Counter(stage.puppet.ran).items() if times > 1],
            reached=stage.proxy.fault is None,
        )
    finally:
        await stage.kube.delete("Namespace", "", namespace)


def _compare(reference: Played, played: Played) -> Iterator[str]:
    yield from differences(reference.end, played.end)
    for key in sorted(reference.made.keys() | played.made.keys()):
        if reference.made[key] != played.made[key]:
            yield f"{key}: {played.made[key]} times instead of {reference.made[key]}"
    for name in played.twice:
        yield f"{name} ran more than once"
