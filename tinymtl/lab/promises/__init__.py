"""What each strategy promises, by machine: for every property a proof, or the smallest counterexample found.

`rules.py` asks a strategy, `properties.py` says what is asked, `search.py` looks for what breaks it, `proofs.py` says
why nothing can, `page.py` writes it all down.
"""
