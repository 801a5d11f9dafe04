"""Vision backends: the embedded recogniser, and the cloud with its circuit breaker.

The pipeline and the proxy import it; it imports models, engine and vision.
"""
