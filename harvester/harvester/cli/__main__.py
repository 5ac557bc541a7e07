"""`python -m harvester.cli`: the command line, where no console script is at hand."""

from harvester.cli import main

main()
