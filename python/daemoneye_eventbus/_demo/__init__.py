"""What ``daemoneye-eventbus demo`` runs: a collector of this machine's processes, and a live view of what it publishes.

Programs of their own, written to be read: ``examples/`` of the source leads here. They use the public names alone, and
besides them psutil and rich (the extra ``demo``).
"""
