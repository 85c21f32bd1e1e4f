"""Which images to annotate: those that stand for the whole folder, seen through the frozen backbone's eyes."""

from distillfss.picking.picking import Pick, PickProgress, Selection, pick

__all__ = ["Pick", "PickProgress", "Selection", "pick"]
