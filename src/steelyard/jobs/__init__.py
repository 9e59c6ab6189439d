"""Long work on a user's own files: a sources file votes in chunks, a table gets labels, a student learns from it; all of it resumes.

Recipes and the command line stand on these; they in turn wire the stations.
"""
