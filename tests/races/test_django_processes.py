"""Processes on one of Django's caches, one of which dies or stands still under its lock."""

import signal
from datetime import timedelta

import pytest
from racing import Task, chain, fetches, together, values
from test_processes import Farm, farm

from requestforge.instrumentation import real_monotonic

__all__ = ["farm"]

# Before, during and after the fetch; and whether it was made.
MOMENTS = {"locked": 0, "fetching": 1, "fetched": 1, "stored": 1}

# A lease of a second is one of two where the cache counts in whole seconds; and the poll.
LONGEST = 3.5


def test_a_killed_process_holds_others_up_for_its_lease_alone(farm: Farm) -> None:
    """After the lease of a killed holder others fetch, once, if it had stored nothing."""
    chains = {moment: chain() for moment in MOMENTS}
    for moment in MOMENTS:
        farm.halted(moment, lease=1, prefix=moment).kill()
    killed_at = real_monotonic()
    served = [
        Task(lambda m=moment: together(4, farm.pipeline(chains[m], m).execute))
        for moment in MOMENTS
    ]
    # Workers number their tokens by the fetches of all of them; the last one alone has stored its.
    assert [values(each.result()) for each in served] == [{"user-1"}] * 3 + [{"user-3"}]
    assert real_monotonic() - killed_at < LONGEST
    assert [fetches(steps) for steps in chains.values()] == [[0, 0, 1]] * 3 + [[0, 0, 0]]
    assert farm.fetches() == [4, 4, 3]


def test_who_does_not_wait_for_a_killed_process_is_told(farm: Farm) -> None:
    """With a wait shorter than the lease the error names the step."""
    farm.halted("fetching", lease=20).kill()
    impatient = farm.pipeline(wait_timeout=timedelta(milliseconds=20))
    assert Task(impatient.execute).error().service_name == "user"


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="Processes cannot be paused here.")
def test_a_paused_process_holds_others_up_for_its_lease_alone(farm: Farm) -> None:
    """After the lease of a paused holder others fetch, once; it, too, gets a token in the end."""
    chains = {moment: chain() for moment in MOMENTS}
    workers = [farm.halted(moment, lease=1, prefix=moment) for moment in MOMENTS]
    for worker in workers:
        worker.signal(signal.SIGSTOP)
    paused_at = real_monotonic()
    pipelines = {moment: farm.pipeline(chains[moment], moment) for moment in MOMENTS}
    served = [Task(lambda p=pipeline: together(4, p.execute)) for pipeline in pipelines.values()]
    # Workers number their tokens by the fetches of all of them; the last one alone has stored its.
    assert [values(each.result()) for each in served] == [{"user-1"}] * 3 + [{"user-3"}]
    assert real_monotonic() - paused_at < LONGEST
    for worker in workers:
        worker.signal(signal.SIGCONT)
        worker.tell("go on")
    assert all(worker.answer().startswith("user-") for worker in workers)
    assert [fetches(steps) for steps in chains.values()] == [[0, 0, 1]] * 3 + [[0, 0, 0]]
    assert farm.fetches() == [4, 4, 3]
