"""Building blocks of a picture of the demo world before styling: parameters, anatomy, coats, faces, places, light."""
