"""Recurrent networks trained on tasks that need memory, with and without gradient flossing."""
