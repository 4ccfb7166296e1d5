"""Streamlit pages over runs and over the live journal."""
