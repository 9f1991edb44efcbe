"""Pairs on disk, glass synthesis and mixing."""
