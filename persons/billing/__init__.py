"""What calls cost: the tariff's ladder and the monthly meter.

The call log and the usage page import it; it imports models alone.
"""
