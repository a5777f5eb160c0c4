"""Ranks as processes of this machine, over gloo or NCCL."""
