"""What a lab's proof and its grades depend on, named and digested: one fingerprint for proofs, releases and grades."""

from .lab import Fingerprint, files_of, fingerprint

__all__ = ["Fingerprint", "files_of", "fingerprint"]
