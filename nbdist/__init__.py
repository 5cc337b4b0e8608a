"""nbdist"""
