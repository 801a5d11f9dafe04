"""REST views, one module for each resource."""
