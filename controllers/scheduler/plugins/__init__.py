"""The scheduling rules, one per file, each a `framework.Plugin` under upstream's name; `profile.py` lists them in order."""
