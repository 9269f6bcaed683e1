"""`python -m vlockstep`."""

from vlockstep.cli import main

main()
