# Archive of src/net.
