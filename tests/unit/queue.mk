# Unit tests of src/queue.
