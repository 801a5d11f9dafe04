"""The Vision API: wire types, limits, and the client of the cloud. Depends on nothing of Django."""
