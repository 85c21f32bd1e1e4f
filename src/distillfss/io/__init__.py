"""Reading and writing files: safe decoding, masks, labelled folders, atomic writes. Knows no torch."""
