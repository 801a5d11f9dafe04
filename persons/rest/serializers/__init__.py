"""Shapes of requests and responses. All fields are listed explicitly, so that a new model column is
not exposed by accident.
"""
