"""Reference components of a course on machine-learning systems. Imports no layer: an edition may lack some."""

__version__ = "0.1.0"
