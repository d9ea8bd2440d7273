"""Reading prepared pairs: one by one, as crops, and mixed into batches."""
