"""What several tests share: small models, files of every format, and two ComfyUIs, one of straw and one real."""
