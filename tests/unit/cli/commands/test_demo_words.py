"""What the demo says on a bad day."""

from harvester.cli.commands import demo
from harvester.cli.commands.demo_stage import DemoError
from harvester.cli.options import DemoOptions, DemoScheduler


def test_an_extra_in_brackets_is_no_markup(monkeypatch, capsys):
    def missing(*_: object) -> None:
        raise DemoError("install it: pip install 'hpc-harvester[gateway,daemon]'")

    monkeypatch.setattr(demo, "open_stage", missing)
    assert demo.run_demo(DemoOptions(scheduler=DemoScheduler.LOCAL, keep=False, as_json=False)) == 1
    assert capsys.readouterr().out == "harvester demo: install it: pip install 'hpc-harvester[gateway,daemon]'\n"
