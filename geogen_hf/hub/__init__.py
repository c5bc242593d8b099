"""Publish an exported folder, or the original zips, on the Hugging Face Hub.

`push.py` has the options and the steps, `contents.py` the checks of what is published,
`commit_plan.py` what one commit changes, and `repo.py` every call to the Hub.
"""
