"""`stowage balance`: instances from files and traces, and what is printed of an answer."""
