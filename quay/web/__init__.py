"""How we say it: HTTP, and nothing but HTTP. What is promised stands in `quay.registry`."""
