"""Commands that are killed at random moments and typed again end as if nothing had happened."""

from __future__ import annotations

import os

import pytest

from kills import Killer

KILLS = int(os.environ.get("UNBACKDOOR_KILLS", "2"))


@pytest.fixture(scope="module")
def killer(tmp_path_factory: pytest.TempPathFactory) -> Killer:
    return Killer(tmp_path_factory.mktemp("kills"), seed=1)


@pytest.mark.parametrize("name", ["scan", "repair", "attack", "bench"])
def test_a_killed_command_goes_on_to_the_same_result(killer: Killer, name: str) -> None:
    before = killer.kills
    while (left := KILLS + before - killer.kills) > 0:  # some moments come after the end
        killer.kill_until_done(name, left)
