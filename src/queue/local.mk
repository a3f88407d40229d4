# Archive of src/queue.
