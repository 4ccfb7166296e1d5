"""Huawei's serverless release of 2025 ("Serverless Cold Starts and Where to Find Them") in its layout, at any scale.

Each region is drawn by itself and each day written as it comes, so that memory holds one day of one region.
"""
