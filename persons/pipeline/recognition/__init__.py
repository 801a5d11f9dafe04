"""Photos become faces: renditions, batches to Vision, retries, rescans."""
