"""Which convention do the cameras' geometry and the pixels support?"""
