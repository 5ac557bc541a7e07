from harvester.sdk.submit.unresolved import MAX_IDS, POLL_S, SWEEP_IDS_PER_S, SWEEP_S, UnresolvedIds


def test_under_an_open_stream_an_id_is_asked_for_by_the_sweep_only():
    watch = UnresolvedIds()
    watch.connected()
    watch.add(["a"], watch.epoch, 0.0)
    assert watch.question(1.0) == []
    assert watch.next_at(1.0) == SWEEP_S
    assert watch.question(SWEEP_S) == ["a"]
    assert watch.question(SWEEP_S + 1) == []
    assert watch.next_at(SWEEP_S + 1) == 2 * SWEEP_S


def test_after_a_cut_all_that_are_open_are_asked_for_once():
    watch = UnresolvedIds()
    watch.connected()
    ids = [f"i-{number}" for number in range(MAX_IDS + 5)]
    watch.add(ids, watch.epoch, 0.0)
    watch.discard("i-3")
    watch.cut()
    assert watch.question(1.0) == []  # nobody there to ask
    assert watch.next_at(1.0) is None
    watch.connected()
    assert watch.next_at(1.0) == 1.0
    asked = watch.question(1.0) + watch.question(1.0)
    assert sorted(asked) == sorted(set(ids) - {"i-3"})
    assert watch.question(1.0) == []


def test_what_was_sent_before_a_cut_and_accepted_after_it_is_asked_for():
    watch = UnresolvedIds()
    watch.connected()
    sent_in = watch.epoch
    watch.cut()
    watch.connected()
    watch.add(["late"], sent_in, 5.0)
    watch.add(["new"], watch.epoch, 5.0)
    assert watch.question(5.0) == ["late"]


def test_without_streams_each_is_asked_for_again_and_again_until_it_is_over():
    watch = UnresolvedIds()
    watch.add(["a", "b"], watch.epoch, 0.0)
    watch.refused()
    assert watch.question(POLL_S) == ["a", "b"]
    assert watch.question(1.5 * POLL_S) == []
    watch.discard("a")
    assert watch.question(2.5 * POLL_S) == ["b"]
    watch.discard("b")
    assert watch.next_at(3.0) is None
    assert len(watch) == 0


def test_a_million_open_ones_are_swept_at_a_bounded_rate():
    watch = UnresolvedIds()
    watch.connected()
    watch.add(map(str, range(1_000_000)), watch.epoch, 0.0)
    assert watch.next_at(0.0) == 1_000_000 / SWEEP_IDS_PER_S
    assert len(watch.question(1000.0)) == MAX_IDS
