"""The stages, one a file, found by listing this folder. Nodes never import each other."""
