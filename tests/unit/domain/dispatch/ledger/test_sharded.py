"""The dict in parts: what a dict does, and no part much larger than another."""

from hypothesis import given
from hypothesis import strategies as st

from harvester.domain.dispatch.ledger.sharded import ShardedDict

KEYS = st.sampled_from([f"i-{number}" for number in range(40)])
STEPS = st.lists(st.tuples(st.sampled_from(["set", "get", "pop", "del", "in"]), KEYS, st.integers()))


@given(STEPS)
def test_it_does_what_a_dict_does(steps):
    plain: dict[str, int] = {}
    sharded: ShardedDict[int] = ShardedDict()
    for verb, key, value in steps:
        match verb:
            case "set":
                plain[key] = sharded[key] = value
            case "get":
                assert sharded.get(key) == plain.get(key)
            case "pop":
                assert sharded.pop(key) == plain.pop(key, None)
            case "del" if key in plain:
                del plain[key], sharded[key]
            case _:
                assert (key in sharded) == (key in plain)
        assert len(sharded) == len(plain)


def test_no_part_holds_much_more_than_another():
    sharded: ShardedDict[None] = ShardedDict()
    for number in range(16_000):
        sharded[f"0190a3c4-1234-7abc-8def-{number:012x}"] = None  # ids of a batch are consecutive
    sizes = [len(part) for part in sharded._parts]
    assert len(sizes) == 16
    assert max(sizes) < 1.3 * 16_000 / 16
