"""Devices: the operations a model needs (`ops`), and one folder for each device that has them."""
