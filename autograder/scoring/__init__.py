"""What decides a submission's points, on the trusted side: for proofs and for grades alike."""
