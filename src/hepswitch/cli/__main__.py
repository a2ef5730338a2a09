"""`python -m hepswitch.cli`: the same as the `hepswitch` command."""

from hepswitch.cli import main

main()
