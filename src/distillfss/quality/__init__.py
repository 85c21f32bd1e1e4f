"""How good a model will be on new images, said before there are any; and, of each new image, how sure it is."""
