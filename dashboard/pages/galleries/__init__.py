"""Galleries: the list, the grid, uploads, selection, sharing and the trash."""
