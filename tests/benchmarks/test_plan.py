"""The comparison of plans with training counts a combination only if both its figures are close."""

import json

from benchmarks import plan


def _line(combination, seconds, gigabytes):
    return {
        "combination": combination,
        "predicted": {"seconds": seconds, "bytes": gigabytes * 1e9},
        "measured": {"seconds": 1.0, "bytes": 1e9},
    }


def test_a_combination_counts_if_time_and_memory_are_within_a_fifth():
    lines = [_line("simclr a 32", 1.19, 0.81), _line("mae b 64", 1.21, 1.0), _line("dino c 96", 1.0, 0.79)]
    text = plan.table(lines)
    assert text.endswith("within 20% in time and memory: 1 of 3")
    assert "| simclr | a | 32 | 1.190 | 1.000 (+19%) | 0.81 | 1.00 (-19%) |" in text


def test_there_are_twelve_combinations_and_their_settings_fix_what_a_plan_decides():
    assert len(set(plan.COMBINATIONS)) == 12
    assert plan.settings("simclr resnet10t 32", 64) == {
        "method": "simclr",
        "encoder": "resnet10t",
        "image_size": 32,
        "batch_size": 64,
        "device": "cpu",
    }


def test_lines_that_were_written_before_are_read_again(tmp_path):
    assert plan.read(tmp_path / "none.jsonl") == []
    (tmp_path / "some.jsonl").write_text(json.dumps({"combination": "a"}) + "\n")
    assert plan.read(tmp_path / "some.jsonl") == [{"combination": "a"}]
