"""One photo: the viewer, its faces, its files."""
