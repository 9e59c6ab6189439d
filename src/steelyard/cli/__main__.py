"""``python -m steelyard.cli``: the ``steelyard`` command where its script is not on the path."""

from steelyard.cli import main

main()
