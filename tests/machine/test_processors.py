"""Containers that may use less than the machine has."""

import os

import pytest
import torch

from selfstudy.machine import processors as machine


@pytest.fixture
def limits(tmp_path, monkeypatch):
    """Writes the cgroup files of a container on a machine with eight CPUs."""
    monkeypatch.setattr(machine, "_CGROUPS", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", {0: range(8)}.get, raising=False)  # 0 is this process

    def write(files):
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)

    return write


@pytest.mark.parametrize(
    ("files", "processors"),
    [
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "9900000 100000\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ({"cpu.max": "1 100000\n"}, 1),
        ({"cpu.max": "0 100000\n"}, 8),
        ({"cpu.max": "rubbish"}, 8),
        ({}, 8),
    ],
)
def test_no_more_processors_than_the_container_has_time_on(limits, files, processors):
    limits(files)
    assert machine.processors() == processors


def test_no_more_memory_than_the_container_may_have(limits):
    whole = machine.usable_memory()
    assert whole > 10**8
    limits({"memory.max": "max\n"})
    assert machine.usable_memory() == whole
    limits({"memory.max": "50000000\n"})
    assert machine.usable_memory() == 50_000_000
    limits({"memory.max": "max\n", "memory/memory.limit_in_bytes": "40000000\n"})
    assert machine.usable_memory() == 40_000_000


def test_torch_uses_no_more_threads_than_processors_and_keeps_fewer(monkeypatch):
    before = torch.get_num_threads()
    try:
        for given, allowed, processes in [(2, 1, 1), (1, 2, 1), (2, 3, 2), (2, 1, 2)]:
            torch.set_num_threads(given)
            monkeypatch.setattr(machine, "processors", lambda allowed=allowed: allowed)
            machine.limit_threads(processes)
            assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("cpus", "processors"), [(6, 6), (None, 1)])
def test_all_cpus_count_if_the_system_has_no_affinity(monkeypatch, tmp_path, cpus, processors):
    monkeypatch.setattr(machine, "_CGROUPS", tmp_path)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: cpus)
    assert machine.processors() == processors


def test_eight_gigabytes_are_assumed_if_the_system_does_not_say(monkeypatch, limits):
    def unknown(name):
        raise ValueError(name)

    monkeypatch.setattr(os, "sysconf", unknown)
    assert machine.usable_memory() == 8_000_000_000
    limits({"memory.max": "50000000\n"})
    assert machine.usable_memory() == 50_000_000


def test_one_process_gets_all_cpus(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setattr(machine, "processors", lambda: 2)
    try:
        torch.set_num_threads(2)
        machine.limit_threads()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_the_memory_in_use_is_that_of_this_process(monkeypatch, tmp_path):
    assert 10**7 < machine.used_memory() < 10**11
    monkeypatch.setattr(machine, "_STATM", tmp_path / "statm")
    assert machine.used_memory() == 0
    (tmp_path / "statm").write_text("900 25 3\n")
    assert machine.used_memory() == 25 * os.sysconf("SC_PAGE_SIZE")
