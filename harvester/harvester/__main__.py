"""`python -m harvester`: the command line, where no console script is on the PATH."""

from harvester.cli import main

main()
