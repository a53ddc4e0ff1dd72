"""The engine: reads, checks, plans, runs and remembers workflows. No torch, and no node by name."""

FLOORS = (
    ("errors", "events", "tables", "pace", "streams", "signatures", "failpoints", "contrast"),
    ("values", "filerefs", "syntax", "report", "metadata"),
    ("outputs", "document", "node", "files", "credentials"),
    ("references", "fields", "registry", "sources", "keys"),
    ("params", "conditions", "gauge"),
    ("entries",),
    ("workflow",),
    ("steps", "order"),
    ("lookup",),
    ("wanted", "living", "traits", "inherited"),
    ("wiring",),
    ("index",),
    ("store",),
    ("memory", "placement", "hindsight"),
    ("cache",),
    ("upkeep", "ready", "provenance"),
    ("explain", "rerun", "findings", "costs"),
    ("plan",),
    ("context", "deliver", "failures", "made", "inquiry", "forecast"),
    ("loaded",),
    ("execute",),
    ("console", "views", "reference", "schema", "drawing", "housekeeping", "doctor", "words", "requests"),
)
"""Low to high. A file imports only from lower floors, not from its own; tests/test_floors.py holds it."""
