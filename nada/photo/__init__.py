"""Photos: find and cut out the square, encode it, and paste the result back."""
