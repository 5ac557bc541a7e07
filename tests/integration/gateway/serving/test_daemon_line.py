"""What the gateway tells the daemon at once, and what it tells pilots of the daemon."""

import time

from harvester.domain.model.pilots import DrainReason
from harvester.domain.protocol import daemon_notes, wire, word


def said(rig):
    return word.decode(rig.store.note(word.WORD_NOTE))


def note_of_daemon(rig, ago_s):
    note = daemon_notes.DaemonNote(last_tick_at=time.time() - ago_s, tick_s=1.0)
    rig.store.put_note(daemon_notes.DAEMON_NOTE, daemon_notes.encode(note))


async def test_pilots_hear_how_long_ago_the_daemon_last_said_that_it_lives(rig):
    pilot = await rig.pilot()
    assert (await pilot.hear(wire.Heard)).daemon_age_s is None
    note_of_daemon(rig, 7.0)
    await rig.until(lambda: any(isinstance(m, wire.Heard) and m.daemon_age_s for m in pilot.heard))
    heard = await pilot.hear(wire.Heard, within=3.0)
    while heard.daemon_age_s is None:
        heard = await pilot.hear(wire.Heard, within=3.0)
    assert 6.5 < heard.daemon_age_s < 12.0


async def test_an_evicted_pilots_word_reaches_the_store_at_once(rig):
    first, second = await rig.pilot("p1"), await rig.pilot("p2")
    await first.say(wire.Draining(reason=DrainReason.EVICTED))
    await second.say(wire.Draining(reason=DrainReason.EVICTED))
    await rig.until(lambda: set(said(rig).evicted) == {"p1", "p2"}, within=1.0)
    assert time.time() - said(rig).evicted_at < 5.0


async def test_a_pilot_that_leaves_by_itself_is_no_eviction_and_no_broken_connection(rig):
    pilot = await rig.pilot()
    await pilot.say(wire.Draining(reason=DrainReason.WALLTIME))
    await pilot.leave()
    other = await rig.pilot("p2")
    await other.cut()
    await rig.until(lambda: said(rig).broken == ("p2",))
    assert said(rig).evicted == ()
