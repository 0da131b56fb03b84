"""``python -m benchmarks``: the overhead table."""

from benchmarks.overhead import main

main()
