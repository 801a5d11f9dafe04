"""Recognition history: the log of calls, with its search, filters, chart and export.

Pages, REST and the proxy import it; it imports models, access and the audit.
"""
