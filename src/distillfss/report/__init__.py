"""Pictures and pages for people: overlays, error pictures, and single HTML files that hold everything they show."""
