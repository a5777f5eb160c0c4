"""The student's desk: a lab comes in, is worked on, is brought up to date and handed in."""
