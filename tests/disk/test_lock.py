import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from selfstudy.disk.lock import patient_lock, run_lock
from selfstudy.errors import EnvironmentFault, RunFolderError

HOLD = """
import sys, time
from pathlib import Path
from selfstudy.disk.lock import run_lock
with run_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""

HOLD_WITH_A_FORKED_WORKER = """
import os, sys, time
from pathlib import Path
from selfstudy.disk.lock import run_lock
with run_lock(Path(sys.argv[1])):
    worker = os.fork()
    if worker == 0:
        time.sleep(60)
        os._exit(0)
    print("held", worker, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def start():
    """Starts a process that holds the lock; ends what is left of it afterwards."""
    holders = []

    def begin(script, folder):
        holder = subprocess.Popen([sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE, text=True)
        holders.append(holder)
        line = holder.stdout.readline()
        assert line.startswith("held")
        return holder, line

    yield begin
    for holder in holders:
        holder.kill()
        holder.wait()
        holder.stdout.close()


def test_a_second_process_is_told_at_once_who_holds_the_folder(tmp_path, start):
    holder, _ = start(HOLD, tmp_path)
    began = time.monotonic()
    with pytest.raises(RunFolderError) as caught, run_lock(tmp_path):
        pass
    assert time.monotonic() - began < 2
    who = f"{tmp_path} is in use by process {holder.pid} on {socket.gethostname()}, since {time.strftime('%Y-%m-%d')}"
    assert str(caught.value).startswith(who)
    assert str(caught.value).endswith("\nwait for it, stop it, or name another folder with --out")
    assert holder.poll() is None


def test_the_lock_of_a_killed_process_is_free_without_any_cleanup(tmp_path, start):
    holder, _ = start(HOLD, tmp_path)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with run_lock(tmp_path):
        assert f'"pid": {os.getpid()}' in (tmp_path / ".lock").read_text()


def test_a_worker_that_outlives_a_killed_owner_does_not_keep_the_lock(tmp_path, start):
    holder, line = start(HOLD_WITH_A_FORKED_WORKER, tmp_path)
    worker = int(line.split()[1])
    try:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        os.kill(worker, 0)
        _take_within(5, tmp_path)
    finally:
        os.kill(worker, signal.SIGKILL)


def _take_within(seconds, folder):
    """The worker may have been forked a moment ago, and closes its handle when it first runs."""
    give_up = time.monotonic() + seconds
    while True:
        try:
            with run_lock(folder):
                return
        except RunFolderError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.05)


def test_a_fork_leaves_the_owners_lock_in_place(tmp_path, start):
    start(HOLD_WITH_A_FORKED_WORKER, tmp_path)
    with pytest.raises(RunFolderError, match="is in use by process"), run_lock(tmp_path):
        pass


def test_the_lock_is_free_after_the_block_and_after_an_error_in_it(tmp_path):
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), run_lock(tmp_path):
            raise ZeroDivisionError
    with run_lock(tmp_path):
        pass


def test_one_process_cannot_hold_it_twice(tmp_path):
    with run_lock(tmp_path), pytest.raises(RunFolderError, match=f"in use by process {os.getpid()} on"):
        with run_lock(tmp_path):
            pass


def test_a_longer_text_of_an_earlier_owner_is_overwritten(tmp_path):
    (tmp_path / ".lock").write_text("x" * 1000)
    with run_lock(tmp_path), pytest.raises(RunFolderError, match=f"process {os.getpid()} "), run_lock(tmp_path):
        pass


@pytest.mark.parametrize("text", ["", "not JSON", "[]", '{"pid": 3}'])
def test_an_owner_that_did_not_say_who_it_is_is_another_process(tmp_path, monkeypatch, text):
    monkeypatch.setattr("selfstudy.disk.lock._PATIENCE_SECONDS", 0.01)
    with run_lock(tmp_path):
        (tmp_path / ".lock").write_text(text)
        with pytest.raises(RunFolderError, match="is in use by another process\nwait for it"), run_lock(tmp_path):
            pass


def test_a_lock_file_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / "precious").write_text("keep")
    (tmp_path / ".lock").symlink_to(tmp_path / "precious")
    with pytest.raises(EnvironmentFault, match="cannot open the lock"), run_lock(tmp_path):
        pass
    assert (tmp_path / "precious").read_text() == "keep"


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with (
        pytest.raises(EnvironmentFault, match=r"cannot open the lock .*none.*: No such file"),
        run_lock(tmp_path / "none"),
    ):
        pass


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(EnvironmentFault, match="No locks available\nthe file system has no locks"), run_lock(tmp_path):
        pass


def test_a_patient_lock_waits_until_the_first_owner_is_done(tmp_path):
    order, inside = [], threading.Event()

    def first():
        with patient_lock(tmp_path):
            inside.set()
            time.sleep(0.2)
            order.append("first")

    thread = threading.Thread(target=first)
    thread.start()
    inside.wait()
    with patient_lock(tmp_path):
        order.append("second")
    thread.join()
    assert order == ["first", "second"]
