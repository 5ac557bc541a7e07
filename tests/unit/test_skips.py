from types import SimpleNamespace

from tests.support.skips import folded


def test_skips_are_a_line_for_each_reason_wherever_they_are():
    places = [("a.py", 1, "no Slurm"), ("b.py", 2, "no Slurm"), ("b.py", 2, "no curl")]
    reports = [SimpleNamespace(longrepr=(path, line, f"Skipped: {reason}")) for path, line, reason in places]
    assert folded(reports) == ["SKIPPED [2] no Slurm", "SKIPPED [1] no curl"]
    assert folded([]) == []
