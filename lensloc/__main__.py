"""``python -m lensloc``."""

from lensloc.cli import main

main()
