"""The language: digests, names, manifests, ranges and errors. Pure: no Twisted, no I/O."""
