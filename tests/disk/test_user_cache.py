"""The folder of the user's cache."""

from pathlib import Path

import pytest

from selfstudy.disk.user_cache import user_cache
from selfstudy.errors import EnvironmentFault


def test_a_variable_of_our_own_comes_before_those_of_the_system(monkeypatch):
    monkeypatch.setenv("SELFSTUDY_CACHE", "/mine")
    monkeypatch.setenv("XDG_CACHE_HOME", "/theirs")
    assert user_cache() == Path("/mine")
    monkeypatch.delenv("SELFSTUDY_CACHE")
    assert user_cache() == Path("/theirs/selfstudy")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert user_cache() == Path("/home/me/.cache/selfstudy")


def test_a_user_without_a_home_is_told_which_variable_to_set(monkeypatch):
    for name in ("SELFSTUDY_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(EnvironmentFault, match="no home folder for a cache\nname a folder: SELFSTUDY_CACHE=FOLDER"):
        user_cache()
