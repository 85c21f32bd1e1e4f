"""The report of a benchmark: tables, plots and pictures, as one HTML page and as Markdown."""
