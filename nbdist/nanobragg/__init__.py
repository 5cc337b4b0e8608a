"""The nanoBragg front end: its flags become an experiment, and what it prints and writes is made of the images."""
