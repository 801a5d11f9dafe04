"""People: the list, one person, merging, enrolments, rights."""
