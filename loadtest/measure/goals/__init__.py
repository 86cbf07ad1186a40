"""The goals, and how each is measured."""
