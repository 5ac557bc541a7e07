from rich.console import Console

from harvester.cli.render import tables


def shown(*parts):
    console = Console(width=120, record=True, file=None, quiet=False)
    with console.capture() as capture:
        for part in parts:
            console.print(part)
    return capture.get()


def test_names_in_brackets_are_not_markup():
    assert "n[red]" in shown(tables.pilots([{"pilot_id": "p", "node": "n[red]", "state": "ready"}], 0.0))


def test_a_pilot_that_is_ready_and_full_is_busy():
    full, empty = {"cpus": 0, "gpus": 0, "memory_mb": 0}, {"cpus": 2, "gpus": 0, "memory_mb": 0}
    pilots = [
        {"pilot_id": "p-1", "state": "ready", "free": full},
        {"pilot_id": "p-2", "state": "ready", "free": empty},
        {"pilot_id": "p-3", "state": "draining", "free": full},
        {"pilot_id": "p-4", "state": "booting", "free": None},
    ]
    assert [tables.pilot_state(pilot) for pilot in pilots] == ["busy", "ready", "draining", "booting"]
    assert "busy" in shown(tables.pilots(pilots, 0.0))
    assert "busy" in shown(*tables.status({"pilots": pilots}))


def test_an_empty_status_is_shown_in_words():
    text = shown(*tables.status({"gateway": "http://g", "user": "me"}))
    for words in ("no pilots", "no waiting work", "no nodes are known yet", "seen never"):
        assert words in text


def said(*, control=None, note=None, **more):
    daemon = {"control": control or {"paused": False}, "is_alive": True, "age_s": 0.7, "has_heard": True}
    return {"daemon": daemon | {"note": note or {}} | more}


def test_a_pause_and_errors_are_loud():
    note = {"paused": True, "reason": "three submissions failed", "errors": ["sbatch: no [such] partition"]}
    text = shown(*tables.status(said(note=note)))
    assert "paused     three submissions failed" in text
    assert "error      sbatch: no [such] partition" in text


def test_a_store_that_takes_no_writes_is_shown():
    text = shown(*tables.status({"daemon": {"store": "the store did not take the last writes: disk full"}}))
    assert "store      the store did not take the last writes: disk full" in text


def test_an_admins_pause_says_why_and_how_to_resume():
    control = {"paused": True, "reason": "maintenance", "at": 0.0}
    text = shown(*tables.status(said(control=control)))
    assert "maintenance" in text
    assert "to resume: `harvester resume`" in text
    assert "has not heard it yet" not in text
    assert "the daemon has not heard it yet" in shown(*tables.status(said(control=control, has_heard=False)))


def test_the_age_of_the_last_look_and_the_planners_notes_are_shown():
    note = {
        "notes": ["No pilots of shape x: no node has 9 CPUs."], "last_tick_at": 100.0, "looked_at": 88.0,
        "look_cause": "the clock", "mode": "yielding", "commands_per_minute": 6,
    }  # fmt: skip
    text = shown(*tables.status(said(note=note)))
    words = "looked 13 s ago (the clock); mode yielding; 6 scheduler commands in the last minute"
    assert f"daemon     {words}" in text
    assert "has not seen the cluster yet" in shown(*tables.status(said()))
    harm = shown(*tables.status(said(note=note | {"delayed": 2, "worst_delay_s": 3.14})))
    assert "delays     2 prime jobs waited for pilots, the longest for 3.1 s" in harm
    assert "harm" not in text
    assert "note       No pilots of shape x" in text
    assert "has not ticked for 10 min" in shown(*tables.status(said(age_s=601.0, is_alive=False)))
    assert "has never ticked" in shown(*tables.status(said(age_s=None, is_alive=False)))


def test_what_an_adapter_does_not_see_is_told_in_the_place_of_nodes():
    note = {"knowledge": {"nodes": False, "lost": ["No nodes are seen.", "States are hints."]}}
    text = shown(*tables.status(said(note=note)))
    assert "not seen   No nodes are seen." in text
    assert "not seen   States are hints." in text
    assert "no nodes are known yet" not in text


def test_a_status_fits_80_columns_with_long_words_under_each_other():
    note = {"notes": ["No pilot is submitted because " + "there is a long reason " * 8], "errors": ["x" * 200]}
    nodes = [{"name": f"node-with-a-long-name-{number}", "state": "idle"} for number in range(30)]
    console = Console(width=80)
    with console.capture() as capture:
        for part in tables.status(said(note=note) | {"cluster": {"nodes": nodes}, "gateway": "http://" + "g" * 90}):
            console.print(part)
    lines = capture.get().splitlines()
    assert max(map(len, lines)) <= 80
    notes = lines.index(next(line for line in lines if line.startswith("note ")))
    assert lines[notes + 1].startswith(" " * 11)
    assert len(lines) < 25  # thirty nodes are counted, not listed
    assert "30 nodes" in capture.get()


def test_a_pilot_fits_on_a_line_of_80_columns():
    pilot = {
        "pilot_id": "01a200fc-a14d-70da-aa65-cd6021102e7d",
        "state": "draining",
        "node": "node0123",
        "batch_job_id": "1234567",
        "resources": {"cpus": 128, "gpus": 4, "memory_mb": 512000},
        "ends_at": 5400.0,
    }
    lines = shown(tables.pilots([pilot], 60.0)).splitlines()
    assert len(lines) == 3, "title, head, one line"
    assert "cd6021102e7d" in lines[2]
    assert "1 h 29 min" in lines[2]


def test_invocations_fit_on_a_line_of_80_columns_with_whole_ids():
    items = [
        {
            "invocation_id": "01a200fc-a14d-70da-aa65-cd6021102e7d",
            "function_id": "estimate@12",
            "state": state,
            "accepted_at": 0.0,
            "started_at": started_at,
            "ended_at": None,
        }
        for state, started_at in (("succeeded", 2.0), ("accepted", None))
    ]
    console = Console(width=80)
    with console.capture() as capture:
        console.print(tables.invocations(items, 100.0))
    lines = capture.get().splitlines()
    assert len(lines) == 4, "title, head, one line each"
    assert items[0]["invocation_id"] in lines[2]
    assert lines[2].split()[1:] == ["estimate@12", "succeeded", "100", "s", "ago", "98", "s"]
    assert lines[3].split()[1:] == ["estimate@12", "accepted", "100", "s", "ago"]


def test_drained_nodes_are_shown_with_who_is_still_there():
    control = {"paused": False, "drained": ["n1", "n2", "n3"]}
    pilots = [
        {"pilot_id": "a-b-c", "node": "n2", "state": "draining"},
        {"pilot_id": "a-b-d", "node": "n7", "state": "ready"},
        {"pilot_id": "a-b-e", "node": "n3", "state": "finished", "ended_at": 1.0},
    ]
    text = shown(*tables.status(said(control=control) | {"pilots": pilots}))
    assert "drained    n[1-3]; pilots are still on n2" in text
    assert "harvester undrain" in text
    assert "no pilots are left there" in shown(*tables.status(said(control=control)))
    assert "drained" not in shown(*tables.status(said()))
