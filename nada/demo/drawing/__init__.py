"""How a demo world picture is built before it gets a style: parameters, anatomy, coats, faces, places, light."""
