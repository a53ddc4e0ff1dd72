"""The engine: reads, checks, plans, runs and remembers workflows. No torch, and no node by name.

errors -> values, events -> syntax, document, node -> workflow -> wiring, keys -> store -> cache, placement
-> plan -> execute -> console
"""

FLOORS = (
    ("errors", "events", "tables"),
    ("values", "syntax", "report"),
    ("document", "node", "files"),
    ("references", "fields", "registry", "sources", "keys"),
    ("params", "conditions"),
    ("workflow",),
    ("steps", "order"),
    ("lookup",),
    ("wiring",),
    ("store", "memory"),
    ("cache", "placement"),
    ("plan",),
    ("execute",),
    ("console",),
)
"""Low to high. A file imports only from lower floors, not from its own; tests/test_floors.py holds it."""
