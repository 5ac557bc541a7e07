from rich.console import Console

from harvester.cli import render


def shown(*parts):
    console = Console(width=120, record=True, file=None, quiet=False)
    with console.capture() as capture:
        for part in parts:
            console.print(part)
    return capture.get()


def test_names_in_brackets_are_not_markup():
    assert "n[red]" in shown(render.pilots([{"pilot_id": "p", "node": "n[red]", "state": "ready"}]))


def test_an_empty_status_is_shown_in_words():
    text = shown(*render.status({"gateway": "http://g", "user": "me"}))
    for words in ("no pilots", "no work waits", "no nodes are known", "seen never"):
        assert words in text


def test_a_pause_and_errors_are_loud():
    daemon = {"paused": True, "reason": "three submissions failed", "errors": ["sbatch: no [such] partition"]}
    text = shown(*render.status({"cluster": {"daemon": daemon}}))
    assert "paused: three submissions failed" in text
    assert "error: sbatch: no [such] partition" in text
