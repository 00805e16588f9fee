import os

import pytest


@pytest.fixture
def no_waiting_for_the_disk(monkeypatch):
    """Losing power cannot be tested here, and hundreds of syncs take seconds."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)
