"""What goes out and what may come in. Fields are listed one by one: a new column of a model stays
inside until somebody decides otherwise."""
