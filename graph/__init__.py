"""The engine: reads, checks, plans, runs and remembers workflows. No torch, and no node by name."""

FLOORS = (
    ("errors", "events", "tables", "pace", "streams", "signatures", "failpoints"),
    ("values", "filerefs", "syntax", "report", "metadata"),
    ("outputs", "document", "node", "files", "credentials", "likeness"),
    ("references", "fields", "registry", "sources", "keys"),
    ("params", "conditions"),
    ("entries",),
    ("workflow",),
    ("steps", "order"),
    ("lookup",),
    ("wanted", "living", "traits", "inherited"),
    ("wiring",),
    ("index", "runs"),
    ("store",),
    ("memory", "placement"),
    ("cache",),
    ("history",),
    ("upkeep", "ready", "provenance"),
    ("explain", "rerun", "findings", "lineage", "locks"),
    ("plan",),
    ("context", "deliver", "failures", "made", "asking"),
    ("loaded",),
    ("execute",),
    ("console", "views", "reference", "schema", "drawing", "housekeeping", "doctor", "words", "requests"),
    ("lookback", "comparison"),
)
"""Low to high. A file imports only from lower floors, not from its own; tests/test_floors.py holds it."""
