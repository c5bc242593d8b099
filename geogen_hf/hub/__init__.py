"""Publish an exported folder, or the original zips, on the Hugging Face Hub.

`push.py` has the steps, `preflight.py` the options and refusals, `contents.py` the checks of the
local folder, `plan.py` the comparison of files, `access.py` the gate, `cards.py` the dataset cards,
and `repo.py` every call to the Hub.
"""
