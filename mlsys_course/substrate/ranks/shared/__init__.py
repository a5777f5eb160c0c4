"""What ranks of every kind share: the communicator, what is counted, what can go wrong, and ranks as threads."""
