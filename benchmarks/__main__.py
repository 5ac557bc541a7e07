"""All measurements that need nothing but this machine, one after another."""

from benchmarks import dispatcher, hot_line, planner, year


def main() -> None:
    for module in (dispatcher, planner, year, hot_line):
        print(f"\n## {(module.__doc__ or '').splitlines()[0]}\n", flush=True)
        module.main()
    print("\nMore, each a command of its own: python -m benchmarks.policies, python -m benchmarks.scripted_hour (root)")


if __name__ == "__main__":
    main()
