"""``solutions/`` to ``labs/``: a list of small stages, and the proof."""
