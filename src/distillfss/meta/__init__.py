"""Meta-training: episodes over many source classes teach the teacher what "the same thing" looks like. Done once."""
