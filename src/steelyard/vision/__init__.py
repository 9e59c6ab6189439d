"""What the stations do not know about pictures: boxes, regions of text on page images, and how they are found and drawn."""
