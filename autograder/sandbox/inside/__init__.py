"""What runs inside: the warm process, the sandbox that it forks, and the student's notebook in it.

Imported by the warm process from a copy of this folder alone. Nothing here imports ``autograder``.
"""
