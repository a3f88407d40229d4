# Archive of src/sasl.
