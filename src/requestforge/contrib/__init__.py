"""Adapters to other libraries, and observers: each is imported by name."""
