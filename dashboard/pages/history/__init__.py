"""Recognition history: calls, the chart, evidence cards."""
