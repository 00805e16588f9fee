"""Reads run folders and shows them to people: a page for one run, a comparison of several. Needs no torch."""
