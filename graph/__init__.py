"""The engine: reads, checks, plans, runs and remembers workflows. No torch, and no node by name."""

FLOORS = (
    ("errors", "events", "tables", "pace", "streams", "signatures", "failpoints", "standing", "witness"),
    ("values", "filerefs", "syntax", "report", "metadata"),
    ("outputs", "document", "node", "files", "credentials"),
    ("references", "fields", "registry", "sources", "keys"),
    ("params", "conditions"),
    ("entries",),
    ("workflow",),
    ("steps", "order"),
    ("lookup",),
    ("wanted", "living", "traits", "inherited"),
    ("wiring",),
    ("index",),
    ("store",),
    ("memory", "placement"),
    ("cache",),
    ("upkeep", "ready", "provenance", "trail"),
    ("explain", "rerun", "findings", "ladder"),
    ("plan",),
    ("context", "deliver", "failures", "made"),
    ("loaded",),
    ("execute",),
    ("laying",),
    ("console", "views", "reference", "schema", "drawing", "housekeeping", "doctor", "words", "requests"),
)
"""Low to high. A file imports only from lower floors, not from its own; tests/test_floors.py holds it."""
