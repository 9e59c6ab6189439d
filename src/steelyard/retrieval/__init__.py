"""What the stations do not know about queries, entities and documents: how things are named, found and linked."""
