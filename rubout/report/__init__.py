"""One HTML file that shows runs to people: tables, curves, fronts and samples as typed."""
