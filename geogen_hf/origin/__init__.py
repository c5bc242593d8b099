"""The parts where they are served: downloads that resume, and ranges read in place."""
