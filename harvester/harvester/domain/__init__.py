"""The pure middle of the harvester: states, decisions and words that every part shares.

Imports the standard library and msgspec only. Reads no clock, opens no file or socket, writes no log. Instants are
Unix seconds (`float`, names end in `_at`), durations are `timedelta` inside and seconds (`_s`) on the wire.
"""
