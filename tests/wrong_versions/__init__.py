"""Wrong versions of exercises that pass the public cases, and right ones that look odd, by people who had the student
edition only: a file for each exercise, a cell for each version, behind which stands what it violates."""
