"""Jobs spread over processes: their order, their threads, their errors."""

from __future__ import annotations

import os

import pytest
import torch

from artifact.studies.common.processes import spread


def power(base, exponent):
    if base < 0:
        raise ValueError(f"expected base >= 0, got {base}")
    return base**exponent


def double(tensors):
    return [2 * tensor for tensor in tensors]


def who(_):
    return os.getpid(), torch.get_num_threads()


def test_results_come_in_the_order_of_the_jobs():
    assert spread(power, ((base, 2) for base in range(6))) == [0, 1, 4, 9, 16, 25]
    assert spread(power, []) == []


def test_processes_have_the_given_threads_and_a_fresh_one_has_one_job():
    assert {threads for _, threads in spread(who, [(0,), (1,)], processes=2)} == {1}
    found = spread(who, [(0,), (1,), (2,)], processes=1, threads=2, fresh=True)
    assert {threads for _, threads in found} == {2}
    assert len({pid for pid, _ in found} | {os.getpid()}) == 4


def test_one_process_is_this_one_and_gets_its_threads_back():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert set(spread(who, [(0,), (1,)], processes=1)) == {(os.getpid(), 1)}
        assert spread(power, [], processes=1) == [] and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_many_tensors_need_no_open_files():
    """In jobs and in results; torch would open a file for each, and of those a process may have few."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    tensors = [torch.tensor([float(i)]) for i in range(600)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (300, limits[1]))
    try:
        doubled = spread(double, [(tensors,), (tensors,)])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert all(torch.equal(torch.cat(one), 2 * torch.cat(tensors)) for one in doubled)


def test_an_error_in_a_job_is_raised():
    with pytest.raises(ValueError, match="expected base >= 0, got -1"):
        spread(power, [(1, 1), (-1, 1), (2, 1)])
