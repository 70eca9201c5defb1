"""Quay on one reactor: a container registry with namespaces, teams, robots and a tag time machine."""

__version__ = "0.1.0"
