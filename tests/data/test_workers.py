"""Worker processes leave Ctrl-C and threads to their parent, and a dead one is reported with advice."""

import os
import signal

import pytest
import torch

from selfstudy.data.batches import micro_batches
from selfstudy.data.workers import deaths_explained
from selfstudy.errors import EnvironmentFault
from tests.data.test_batches import Numbers


class _Asking(Numbers):
    """Each item is the process and the number of threads of its worker, after a Ctrl-C to it."""

    def __getitem__(self, item):
        os.kill(os.getpid(), signal.SIGINT)
        return os.getpid(), torch.get_num_threads()


class _Dying(Numbers):
    def __getitem__(self, item):
        os.kill(os.getpid(), signal.SIGKILL)


def test_workers_leave_ctrl_c_to_the_process_that_started_them_and_have_one_thread():
    process, threads = next(micro_batches(_Asking(), first_step=0, workers=1))
    assert process != os.getpid() and threads == 1


def test_a_worker_that_dies_is_reported_with_advice():
    with pytest.raises(
        EnvironmentFault, match="a data worker died or hung: .*\nusually out of memory; try --workers 1"
    ):
        next(micro_batches(_Dying(), first_step=0, workers=1))


def test_an_error_of_another_kind_is_left_as_it_is():
    with pytest.raises(RuntimeError, match="^shapes differ$"), deaths_explained("close other programs"):
        raise RuntimeError("shapes differ")
