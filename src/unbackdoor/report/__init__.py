"""Results for people: a table for the terminal and a page for the browser.

This part sees results only. Nothing is imported here, so that a table costs no template engine.
"""
