"""Images of any size: cut into overlapping tiles, segmented one by one, blended without seams, in constant memory."""
