"""The engine: reads, checks, plans, runs and remembers workflows. No torch, and no node by name.

Floors, low to high; a file imports only from lower ones (tests/test_floors.py holds it):

    errors -> values, events -> outputs, document -> node -> registry, references, conditions -> workflow
    -> wiring, keys -> store, files -> cache, placement -> plan -> execute -> console
"""
