"""Programs that find faces in a photo. Each needs a package or a model that not everyone has."""
