"""What the components stand on, and every edition has: graphs, ranks, data, devices, plots."""
