"""`python -m fracjax`: the command line."""

from fracjax.cli import main

main()
