"""What `loadtest/measure.py` measures: a file a subject, and what they share."""
