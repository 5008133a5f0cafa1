"""Measures the bus beside its peers: ``python -m benches --help``, or ``make bench``.

Read the modules in this order:

* `link`: what a process can do with any bus: publish and receive numbered messages
* `peers`: one module per bus, each at its best documented setting
* `roles`, `child`: what a process of a run does; they talk to the runner in lines of JSON
* `processes`: starting them, and the CPU clock of each
* `scenarios`: one module per question
* `figures`, `report`, `plots`: from rounds to medians, ratios, tables, JSON and SVG
* `__main__`: the rounds, interleaved

A row is void when anything was lost or came out of order.
"""
