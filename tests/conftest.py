"""No test reads or writes the cache of the user who runs it."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_session(tmp_path_factory):
    """A cache for fixtures that several tests share."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SELFSTUDY_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def cache_of_the_test(cache_of_the_session, tmp_path_factory, monkeypatch):
    """An empty cache for one test."""
    monkeypatch.setenv("SELFSTUDY_CACHE", str(tmp_path_factory.mktemp("cache") / "selfstudy"))
