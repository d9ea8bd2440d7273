"""Reading prepared pairs: one by one, as fixed crops, and mixed into batches."""
